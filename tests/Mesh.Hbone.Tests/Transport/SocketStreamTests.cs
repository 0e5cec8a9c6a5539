using System.Net;
using System.Net.Sockets;
using Mesh.Testing;

namespace Mesh.Hbone.Transport;

public sealed class SocketStreamTests : IDisposable
{
    private readonly Socket _peer = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly Socket _socket;
    private readonly SocketStream _stream;

    public SocketStreamTests()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        _peer.Connect(listener.LocalEndPoint!);
        _socket = listener.Accept();
        _stream = new SocketStream(_socket);
    }

    public void Dispose()
    {
        _stream.Dispose();
        _peer.Dispose();
    }

    // The event of octets that are read at once comes late, when the next wait has begun: often enough to be met in so many rounds.
    [Fact]
    public async Task A_wait_is_not_over_before_there_is_something()
    {
        for (var round = 0; round < 3_000; round++)
        {
            _peer.Send(new byte[10]);
            await _stream.ReadExactlyAsync(new byte[10]).InTime();
            var waiting = _stream.ReadAsync(Memory<byte>.Empty).AsTask();
            for (var moment = 0; moment < 10; moment++)
            {
                await Task.Yield();
            }

            Assert.False(waiting.IsCompleted, $"woken for nothing in round {round}");
            _peer.Send(new byte[1]);
            Assert.Equal(0, await waiting.InTime());
            Assert.Equal(1, await _stream.ReadAsync(new byte[10]).InTime());
        }
    }

    [Fact]
    public async Task The_end_and_a_reset_are_waited_for_too()
    {
        var waiting = _stream.ReadAsync(Memory<byte>.Empty).AsTask();
        _peer.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, await waiting.InTime());
        Assert.Equal(0, await _stream.ReadAsync(new byte[1]).InTime());

        _peer.Close(timeout: 0);
        await Eventually.UntilAsync("the reset is seen", async () => await Record.ExceptionAsync(() => _stream.WriteAsync(new byte[1]).AsTask()) is IOException);
    }

    [Fact]
    public async Task What_is_not_there_is_not_waited_for()
    {
        var buffer = new byte[10];
        _stream.MakeNonBlocking();
        Assert.False(_stream.TryRead(buffer, out _));

        _peer.Send([7]);
        await _stream.ReadAsync(Memory<byte>.Empty).InTime();
        Assert.True(_stream.TryRead(buffer, out var count));
        Assert.Equal((1, 7), (count, buffer[0]));

        _peer.Shutdown(SocketShutdown.Send);
        await _stream.ReadAsync(Memory<byte>.Empty).InTime();
        Assert.True(_stream.TryRead(buffer, out count));
        Assert.Equal(0, count);
    }

    [Fact]
    public async Task A_reset_ends_the_wait_and_is_thrown_by_the_read()
    {
        _stream.MakeNonBlocking();
        var waiting = _stream.WaitForEventAsync(CancellationToken.None).AsTask();
        _peer.Close(timeout: 0);
        await waiting.InTime();
        Assert.Throws<IOException>(() => _stream.TryRead(new byte[1], out _));
    }
}
