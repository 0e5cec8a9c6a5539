using System.Net;
using System.Net.Sockets;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Inbound;
using Mesh.Ztunnel.Outbound;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>The complete proxy of one workload: its listeners, its pool of connections, its open connections (ztunnel §0).</summary>
internal sealed class WorkloadProxy : IAsyncDisposable
{
    private readonly ConnectionTracker _connections;
    private readonly HbonePool _pool;
    private readonly InboundProxy _inbound;
    private readonly OutboundProxy _outbound;

    /// <summary>Takes every port, or none: whatever cannot be listened on fails the whole (ztunnel §1).</summary>
    /// <exception cref="IOException">A port cannot be had; the message names it.</exception>
    public WorkloadProxy(ProxyContext context)
    {
        var options = context.Options;
        var address = context.Workload.ListenAddress ?? options.ListenAddress;
        var wildcard = options.IPv6Enabled && Socket.OSSupportsIPv6 ? IPAddress.IPv6Any : IPAddress.Any;
        var listeners = new List<TransportListener>();
        try
        {
            listeners.Add(context.Transport.Listen(new IPEndPoint(address ?? wildcard, options.HbonePort)));
            listeners.Add(context.Transport.Listen(new IPEndPoint(address ?? wildcard, options.OutboundPort)));
            if (options.Socks5Enabled)
            {
                listeners.Add(context.Transport.Listen(new IPEndPoint(address ?? IPAddress.Loopback, options.Socks5Port)));
            }
        }
        catch
        {
            foreach (var listener in listeners)
            {
                _ = listener.DisposeAsync().AsTask();
            }

            throw;
        }

        _connections = new ConnectionTracker(context.State);
        _pool = new HbonePool(
            new HboneClient(context.Certificates, options.Hbone, context.Transport, context.Time, context.Loggers.CreateLogger<HboneClient>()), options.Pool);
        _inbound = new InboundProxy(context, _connections, listeners[0]);
        _outbound = new OutboundProxy(context, _connections, _pool, listeners[1], listeners.ElementAtOrDefault(2));
    }

    /// <summary>How many connections it carries, or is about to.</summary>
    public int OpenConnections => _connections.Count;

    /// <summary>Accepts no more, and waits for what is open to end; what is open at the deadline is cut (ztunnel §14).</summary>
    public async Task StopAsync(CancellationToken deadline)
    {
        try
        {
            await Task.WhenAll(_inbound.DrainAsync(deadline), _outbound.StopAcceptingAsync());

            // Last, for only now no further ones come.
            await _connections.WhenEmptyAsync().WaitAsync(deadline);
        }
        catch (OperationCanceledException)
        {
            _connections.CloseAll("connection closed due to connection drain");
        }
    }

    /// <summary>Ends everything at once.</summary>
    public async ValueTask DisposeAsync()
    {
        await _outbound.StopAcceptingAsync();
        _connections.CloseAll("connection closed due to connection drain");
        await _inbound.DisposeAsync();
        await _connections.WhenEmptyAsync();
        await _outbound.DisposeAsync();
        await _pool.DisposeAsync();
        _connections.Dispose();
    }
}
