using System.Net;
using System.Net.Sockets;
using Mesh.Core.Identity;
using Mesh.Hbone.Transport;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Inbound;

/// <summary>Connects to the application of a workload, which is to see the client's address where the system allows it (ztunnel §8.3 to §8.5).</summary>
internal sealed class ApplicationConnector(ProxyContext context, bool keepsSource)
{
    private readonly ILogger _logger = context.Loggers.CreateLogger<ApplicationConnector>();

    /// <summary>Connects, and writes the PROXY protocol header where one is wanted.</summary>
    /// <exception cref="IOException">The application cannot be reached, or not in time.</exception>
    /// <exception cref="OperationCanceledException">The connection is to end.</exception>
    public async Task<TransportConnection> ConnectAsync(InboundPlan.Connect plan, IPEndPoint client, SpiffeId? identity, CancellationToken closed)
    {
        using var deadline = new CancellationTokenSource(context.Options.ConnectTimeout, context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, closed);
        try
        {
            if (plan.ProxyTarget is not { } target)
            {
                return await ConnectAsync(plan.Destination, client.Address, either.Token);
            }

            var application = context.Options.LocalhostAppTunnel
                ? await ConnectLocallyAsync(plan.Destination, either.Token)
                : await ConnectAsync(plan.Destination, client.Address, either.Token);
            try
            {
                await application.Stream.WriteAsync(ProxyProtocolHeader.Write(client, target, identity), either.Token);
                return application;
            }
            catch
            {
                application.Abort();
                throw;
            }
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested && !closed.IsCancellationRequested)
        {
            throw new IOException($"the application at {plan.Destination} did not answer within {context.Options.ConnectTimeout}", e);
        }
    }

    private async Task<TransportConnection> ConnectAsync(IPEndPoint destination, IPAddress client, CancellationToken cancellationToken)
    {
        if (!keepsSource || client.Equals(destination.Address) || client.AddressFamily != destination.AddressFamily)
        {
            return await context.Transport.ConnectAsync(destination, source: null, cancellationToken);
        }

        try
        {
            return await context.Transport.ConnectAsync(destination, client, cancellationToken);
        }
        catch (IOException e) when (e.InnerException is SocketException { SocketErrorCode: SocketError.AddressNotAvailable or SocketError.AccessDenied })
        {
            _logger.SourceNotKept(client, destination, e.Message);
            return await context.Transport.ConnectAsync(destination, source: null, cancellationToken);
        }
    }

    // Tunnel ports need not be open to the pod's address then (ztunnel §8.4).
    private async Task<TransportConnection> ConnectLocallyAsync(IPEndPoint destination, CancellationToken cancellationToken)
    {
        var loopback = destination.AddressFamily is AddressFamily.InterNetwork ? IPAddress.Loopback : IPAddress.IPv6Loopback;
        return await context.Transport.ConnectAsync(new IPEndPoint(loopback, destination.Port), loopback, cancellationToken);
    }
}
