using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Connections;

/// <summary>Accepts connections until it is told to stop. Trouble with one does not keep the next from being accepted.</summary>
internal sealed class Acceptor : IAsyncDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    private readonly CancellationTokenSource _stop = new();
    private readonly TransportListener _listener;
    private readonly ConnectionTracker _connections;
    private readonly ConnectionDirection _direction;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly Func<TransportConnection, TrackedConnection, Task> _handle;
    private readonly Task _accepting;

    /// <param name="listener">Where connections come from; owned from now on.</param>
    /// <param name="connections">What tracks them.</param>
    /// <param name="direction">The direction of what comes.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it speaks.</param>
    /// <param name="handle">Carries one connection to its end; owns both, must not throw and must not block.</param>
    public Acceptor(
        TransportListener listener,
        ConnectionTracker connections,
        ConnectionDirection direction,
        TimeProvider time,
        ILogger logger,
        Func<TransportConnection, TrackedConnection, Task> handle)
    {
        _listener = listener;
        _connections = connections;
        _direction = direction;
        _time = time;
        _logger = logger;
        _handle = handle;
        _accepting = Task.Run(AcceptAsync);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _listener.DisposeAsync();
        await _accepting;
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                if (await _listener.AcceptAsync(_stop.Token) is not { } connection)
                {
                    return;
                }

                // Counted from the moment it is accepted, so that a drain waits for it.
                var tracked = _connections.Track(_direction);
                _ = _handle(connection, tracked);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e)
            {
                // File descriptors used up, for one. The listener stays; a moment later there may be some.
                _logger.AcceptFailed(_listener.LocalEndPoint, e);
                await Task.Delay(Pause, _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }
}
