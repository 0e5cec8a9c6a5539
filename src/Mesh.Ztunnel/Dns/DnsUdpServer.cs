using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>Takes questions over UDP on one address.</summary>
internal sealed class DnsUdpServer : IAsyncDisposable
{
    private static readonly TimeSpan PauseAfterFault = TimeSpan.FromMilliseconds(100);
    private readonly CancellationTokenSource _stopReceiving = new();
    private readonly CancellationTokenSource _cut = new();
    private readonly Quota _answering = new(int.MaxValue);
    private readonly DnsContext _context;
    private readonly DnsHandler _handler;
    private readonly Socket _socket;
    private readonly ILogger _logger;
    private readonly Task _receiving;

    /// <summary>Begins to receive on a socket, which is the server's from now on.</summary>
    public DnsUdpServer(DnsContext context, DnsHandler handler, Socket socket)
    {
        _context = context;
        _handler = handler;
        _socket = socket;
        LocalEndPoint = (IPEndPoint)socket.LocalEndPoint!;
        _logger = context.Loggers.CreateLogger<DnsUdpServer>();
        _receiving = Task.Run(ReceiveAllAsync);
    }

    public IPEndPoint LocalEndPoint { get; }

    /// <summary>Receives no more, and waits for what is under way; it is cut at the deadline.</summary>
    public async Task StopAsync(CancellationToken deadline)
    {
        await _stopReceiving.CancelAsync();
        await _receiving;
        await using (deadline.UnsafeRegister(static cut => ((CancellationTokenSource)cut!).Cancel(), _cut))
        {
            await _answering.WhenEmptyAsync();
        }
    }

    // The sources are not disposed: they hold no timers, and stopping twice is harmless.
    public async ValueTask DisposeAsync()
    {
        await StopAsync(new CancellationToken(canceled: true));
        _socket.Dispose();
    }

    private async Task ReceiveAllAsync()
    {
        var buffer = new byte[DnsRequest.MaxLength + 1];
        var anybody = new IPEndPoint(LocalEndPoint.AddressFamily is AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        while (!_stopReceiving.IsCancellationRequested)
        {
            try
            {
                var received = await _socket.ReceiveFromAsync(buffer, SocketFlags.None, anybody, _stopReceiving.Token);

                // Read here, for the buffer is needed again.
                var request = DnsRequest.Read(buffer.AsSpan(0, received.ReceivedBytes));
                _answering.TryEnter();
                _ = AnswerAsync(request, (IPEndPoint)received.RemoteEndPoint);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e)
            {
                // Memory used up, for one. The socket stays; a moment later there may be some.
                _logger.ReceiveFailed(LocalEndPoint, e);
                await Task.Delay(PauseAfterFault, _context.Time, _stopReceiving.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task AnswerAsync(DnsRequest request, IPEndPoint client)
    {
        try
        {
            if (await _handler.HandleAsync(request, DnsProtocol.Udp, NetworkAddress.Canonical(client), _cut.Token) is { } answer)
            {
                await _socket.SendToAsync(answer, SocketFlags.None, client, _cut.Token);
            }
        }
        catch (Exception e)
        {
            _logger.ClientLost(client, e);
        }
        finally
        {
            _answering.Exit();
        }
    }
}
