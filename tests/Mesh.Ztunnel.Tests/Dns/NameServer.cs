using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Mesh.Testing;

namespace Mesh.Ztunnel.Dns;

/// <summary>An upstream server that does as the test says, on one port over UDP and TCP. It may be rude in ways that a real one never is.</summary>
internal sealed class NameServer : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Socket _udp;
    private readonly Socket _tcp;
    private readonly Task _serving;

    public NameServer()
    {
        (_udp, _tcp) = Sockets.BindBoth();
        _serving = Task.WhenAll(Task.Run(ServeUdpAsync), Task.Run(ServeTcpAsync));
    }

    public IPEndPoint EndPoint => (IPEndPoint)_udp.LocalEndPoint!;

    /// <summary>What came, in order.</summary>
    public ConcurrentQueue<Request> Requests { get; } = new();

    /// <summary>The messages that a request is answered with. By default there is no such name, and nobody says for how long.</summary>
    public Func<Request, IEnumerable<byte[]>> Script { get; set; } = request => [request.Answer(new DnsAnswer(DnsResponseCode.NxDomain))];

    /// <summary>Runs before a request is answered over UDP.</summary>
    public Func<Request, Task> Before { get; set; } = _ => Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _udp.Dispose();
        _tcp.Dispose();
        await _serving.InTime();
    }

    private async Task ServeUdpAsync()
    {
        var buffer = new byte[65536];
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var received = await _udp.ReceiveFromAsync(buffer, SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), _stop.Token);
                var request = Take(buffer.AsSpan(0, received.ReceivedBytes), DnsProtocol.Udp, (IPEndPoint)received.RemoteEndPoint);
                _ = AnswerAsync(request);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or SocketException)
            {
                return;
            }
        }
    }

    private async Task AnswerAsync(Request request)
    {
        await Before(request);
        foreach (var message in Script(request))
        {
            await _udp.SendToAsync(message, request.Client);
        }
    }

    private async Task ServeTcpAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                using var client = await _tcp.AcceptAsync(_stop.Token);
                await using var stream = new NetworkStream(client);
                while (await DnsStream.ReadMessageAsync(stream, 65535, _stop.Token) is { } message)
                {
                    foreach (var answer in Script(Take(message, DnsProtocol.Tcp, (IPEndPoint)client.RemoteEndPoint!)))
                    {
                        await DnsStream.WriteMessageAsync(stream, answer, _stop.Token);
                    }
                }
            }
            catch (IOException)
            {
                // This client is gone; another may come.
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or SocketException)
            {
                return;
            }
        }
    }

    private Request Take(ReadOnlySpan<byte> message, DnsProtocol protocol, IPEndPoint client)
    {
        var request = new Request(message.ToArray(), (DnsRequest.Query)DnsRequest.Read(message), protocol, client);
        Requests.Enqueue(request);
        return request;
    }

    internal sealed record Request(byte[] Octets, DnsRequest.Query Query, DnsProtocol Protocol, IPEndPoint Client)
    {
        /// <summary>An answer to it, whole.</summary>
        public byte[] Answer(DnsAnswer answer) => DnsResponse.Write(Query, answer, DnsResponse.MaxTcpLength);
    }
}

/// <summary>Sockets of tests.</summary>
internal static class Sockets
{
    /// <summary>A UDP socket; one of all addresses takes IPv4 and IPv6.</summary>
    public static Socket OpenUdp(IPEndPoint local)
    {
        var socket = new Socket(local.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        if (local.Address.Equals(IPAddress.IPv6Any))
        {
            socket.DualMode = true;
        }

        socket.Bind(local);
        return socket;
    }

    /// <summary>A UDP socket and a TCP listener on one port of 127.0.0.1. Somebody may have the other half of a port; then it is another one.</summary>
    public static (Socket Udp, Socket Tcp) BindBoth()
    {
        for (var attempt = 0; ; attempt++)
        {
            var udp = OpenUdp(new IPEndPoint(IPAddress.Loopback, 0));
            var tcp = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                tcp.Bind(udp.LocalEndPoint!);
                tcp.Listen();
                return (udp, tcp);
            }
            catch (SocketException) when (attempt < 10)
            {
                udp.Dispose();
                tcp.Dispose();
            }
        }
    }
}
