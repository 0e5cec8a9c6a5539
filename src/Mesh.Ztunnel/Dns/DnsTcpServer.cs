using Mesh.Hbone.Transport;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>Takes questions over TCP on one address (RFC 7766).</summary>
internal sealed class DnsTcpServer : IAsyncDisposable
{
    private static readonly TimeSpan PauseAfterFault = TimeSpan.FromMilliseconds(100);
    private readonly CancellationTokenSource _stopReceiving = new();
    private readonly CancellationTokenSource _cut = new();
    private readonly DnsContext _context;
    private readonly DnsHandler _handler;
    private readonly TransportListener _listener;
    private readonly Quota _connections;
    private readonly Quota _open = new(int.MaxValue);
    private readonly ILogger _logger;
    private readonly Task _accepting;

    /// <summary>Begins to accept on a listener, which is the server's from now on.</summary>
    /// <param name="context">What the proxy works with.</param>
    /// <param name="handler">Answers.</param>
    /// <param name="listener">Where clients come.</param>
    /// <param name="connections">How many may be open, at all servers of the proxy together.</param>
    public DnsTcpServer(DnsContext context, DnsHandler handler, TransportListener listener, Quota connections)
    {
        _context = context;
        _handler = handler;
        _listener = listener;
        _connections = connections;
        _logger = context.Loggers.CreateLogger<DnsTcpServer>();
        _accepting = Task.Run(AcceptAllAsync);
    }

    public System.Net.IPEndPoint LocalEndPoint => _listener.LocalEndPoint;

    /// <summary>Accepts and reads no more, and waits for what is under way; it is cut at the deadline.</summary>
    public async Task StopAsync(CancellationToken deadline)
    {
        await _stopReceiving.CancelAsync();
        await _listener.DisposeAsync();
        await _accepting;
        await using (deadline.UnsafeRegister(static cut => ((CancellationTokenSource)cut!).Cancel(), _cut))
        {
            await _open.WhenEmptyAsync();
        }
    }

    // The sources are not disposed: they hold no timers, and stopping twice is harmless.
    public async ValueTask DisposeAsync() => await StopAsync(new CancellationToken(canceled: true));

    private async Task AcceptAllAsync()
    {
        while (!_stopReceiving.IsCancellationRequested)
        {
            try
            {
                if (await _listener.AcceptAsync(_stopReceiving.Token) is not { } connection)
                {
                    return;
                }

                if (_connections.TryEnter())
                {
                    _open.TryEnter();
                    _ = Task.Run(() => ServeAsync(connection));
                }
                else
                {
                    _logger.TooManyConnections(_context.Options.MaxTcpConnections);
                    connection.Abort();
                    await connection.DisposeAsync();
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e)
            {
                // File descriptors used up, for one. The listener stays; a moment later there may be some.
                _logger.ReceiveFailed(LocalEndPoint, e);
                await Task.Delay(PauseAfterFault, _context.Time, _stopReceiving.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task ServeAsync(TransportConnection connection)
    {
        try
        {
            await using (connection)
            {
                using var serving = new DnsTcpConnection(_context, _handler, connection);
                await serving.RunAsync(_stopReceiving.Token, _cut.Token);
            }
        }
        catch (Exception e)
        {
            _logger.ClientLost(connection.RemoteEndPoint, e);
        }
        finally
        {
            _connections.Exit();
            _open.Exit();
        }
    }
}
