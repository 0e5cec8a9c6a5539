using Mesh.Hbone;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Outbound;

/// <summary>The way onwards of one connection: a tunnel, or plain TCP. Disposing it closes it.</summary>
internal sealed class OutboundHop : IAsyncDisposable
{
    private readonly Func<RelayCounters, CancellationToken, Task> _relay;
    private readonly Action _abort;
    private readonly IAsyncDisposable _onward;

    private OutboundHop(Func<RelayCounters, CancellationToken, Task> relay, Action abort, IAsyncDisposable onward)
    {
        _relay = relay;
        _abort = abort;
        _onward = onward;
    }

    public static OutboundHop Of(TransportConnection application, HboneTunnel tunnel) => new(
        (counters, token) => TunnelRelay.RunAsync(application, tunnel, counters, token),
        () =>
        {
            tunnel.Abort();
            application.Abort();
        },
        tunnel);

    public static OutboundHop Of(TransportConnection application, TransportConnection remote) => new(
        (counters, token) => TunnelRelay.RunAsync(application, remote, counters, token),
        () =>
        {
            remote.Abort();
            application.Abort();
        },
        remote);

    public Task RelayAsync(ConnectionRecord record, TrackedConnection tracked) => Relay.RunAsync(token => _relay(record.Counters, token), record, tracked, _abort);

    public ValueTask DisposeAsync() => _onward.DisposeAsync();
}
