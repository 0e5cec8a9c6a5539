using Mesh.Hbone;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Outbound;

/// <summary>The way onwards of one connection: a tunnel, or plain TCP. Disposing it closes it.</summary>
internal sealed class OutboundHop : IAsyncDisposable
{
    private readonly HboneTunnel? _tunnel;
    private readonly TransportConnection? _remote;

    public OutboundHop(HboneTunnel tunnel) => _tunnel = tunnel;

    public OutboundHop(TransportConnection remote) => _remote = remote;

    /// <summary>Carries an application's octets to their end, and says in the record how it ended.</summary>
    public async Task RelayAsync(TransportConnection application, ConnectionRecord record, TrackedConnection tracked)
    {
        var relay = _tunnel is null
            ? TunnelRelay.RunAsync(application, _remote!, record.Counters, tracked.Closed)
            : TunnelRelay.RunAsync(application, _tunnel, record.Counters, tracked.Closed);
        if (!await Relay.RunAsync(relay, record, tracked))
        {
            _tunnel?.Abort();
            _remote?.Abort();
            application.Abort();
        }
    }

    public ValueTask DisposeAsync() => _tunnel?.DisposeAsync() ?? _remote!.DisposeAsync();
}
