using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Inbound;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Passthrough;

/// <summary>Takes redirected connections in plain text to a workload, and connects those that policy allows to its application (ztunnel §8.7).</summary>
/// <remarks>Who comes without a tunnel has no identity. That mutual TLS is strict is a policy that denies whoever has none.</remarks>
internal sealed class InboundPassthrough : IAsyncDisposable
{
    private readonly ProxyContext _context;
    private readonly InboundPlanner _planner;
    private readonly ApplicationConnector _applications;
    private readonly InboundAuthorization _authorization;
    private readonly Acceptor _acceptor;

    public InboundPassthrough(ProxyContext context, ConnectionTracker connections, TransportListener listener)
    {
        _context = context;
        _planner = new InboundPlanner(context.Options.IsIllegalPort, context.Options.RequireWaypoint, context.Options.TrustDomainAliases);
        _applications = new ApplicationConnector(context, listener.IsTransparent);
        _authorization = new InboundAuthorization(context);
        _acceptor = new Acceptor(listener, connections, ConnectionDirection.Inbound, context.Time, context.Loggers.CreateLogger<InboundPassthrough>(), HandleAsync);
    }

    public ValueTask DisposeAsync() => _acceptor.DisposeAsync();

    private async Task HandleAsync(TransportConnection client, TrackedConnection tracked)
    {
        using (tracked)
        await using (client)
        await using (var recording = _context.AccessLog.Begin(new ConnectionRecord { Direction = ConnectionDirection.Inbound, Source = client.RemoteEndPoint }))
        {
            var record = recording.Record;
            tracked.Describe(record);
            try
            {
                record.Destination = client.OriginalDestination;
                await CarryAsync(client, record, tracked);
            }
            catch (Exception e)
            {
                // One connection's trouble ends in its own line.
                Relay.Fail(record, tracked, e);
                client.Abort();
            }
        }
    }

    private async Task CarryAsync(TransportConnection client, ConnectionRecord record, TrackedConnection tracked)
    {
        var destination = record.Destination!;
        var local = await _context.LocalWorkloadAsync(tracked.Closed);
        var mesh = _context.State.Current;
        record.DestinationWorkload = local;
        record.SourceWorkload = mesh.FindWorkload(new NetworkAddress(_context.Options.Network, client.RemoteEndPoint.Address));
        switch (_planner.Plan(mesh, local, destination))
        {
            case InboundPlan.Refuse refusal:
                record.Fail(ConnectionOutcome.Rejected, refusal.Status == 401 ? ResponseFlag.Deny : ResponseFlag.Connect, refusal.Reason);
                client.Abort();
                break;
            case InboundPlan.Connect plan:
                record.DestinationService = plan.Service;
                if (_authorization.Authorize(record, tracked, local, new L4Connection(client.RemoteEndPoint.Address, null, destination)) is { } permit)
                {
                    await ForwardAsync(permit, plan, client, record, tracked);
                }
                else
                {
                    client.Abort();
                }

                break;
        }
    }

    // Takes a permit: what has not been allowed cannot come here.
    private async Task ForwardAsync(L4Decision.Allowed permit, InboundPlan.Connect plan, TransportConnection client, ConnectionRecord record, TrackedConnection tracked)
    {
        ArgumentNullException.ThrowIfNull(permit);
        await using var application = await _applications.ConnectAsync(plan, client.RemoteEndPoint, identity: null, tracked.Closed);
        _context.AccessLog.Opened(record);

        // The application stands where the tunnel stands outbound: what it sends counts as sent.
        if (!await Relay.RunAsync(TunnelRelay.RunAsync(application, client, record.Counters, tracked.Closed), record, tracked))
        {
            application.Abort();
            client.Abort();
        }
    }
}
