using System.Net;
using System.Net.Sockets;
using System.Text;
using Mesh.Testing;

namespace Mesh.Hbone.Transport;

/// <summary>Sockets that are read when there is something, on the runtime's threads and on those of an event loop.</summary>
public sealed class PolledStreamTests : IDisposable
{
    private readonly Socket _peer = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly Socket _socket;

    public PolledStreamTests()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        _peer.Connect(listener.LocalEndPoint!);
        _socket = listener.Accept();
    }

    public static TheoryData<bool> Kinds => new(false, true);

    public void Dispose()
    {
        _socket.Dispose();
        _peer.Dispose();
    }

    // The event of octets that are read at once comes late, when the next wait has begun: often enough to be met in so many rounds.
    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_wait_is_not_over_before_there_is_something(bool onEventLoop)
    {
        var (stream, _) = Open(onEventLoop);
        for (var round = 0; round < 3_000; round++)
        {
            _peer.Send(new byte[10]);
            await stream.ReadExactlyAsync(new byte[10]).InTime();
            var waiting = stream.ReadAsync(Memory<byte>.Empty).AsTask();
            for (var moment = 0; moment < 10; moment++)
            {
                await Task.Yield();
            }

            Assert.False(waiting.IsCompleted, $"woken for nothing in round {round}");
            _peer.Send(new byte[1]);
            Assert.Equal(0, await waiting.InTime());
            Assert.Equal(1, await stream.ReadAsync(new byte[10]).InTime());
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task The_end_and_a_reset_are_waited_for_too(bool onEventLoop)
    {
        var (stream, _) = Open(onEventLoop);
        var waiting = stream.ReadAsync(Memory<byte>.Empty).AsTask();
        _peer.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, await waiting.InTime());
        Assert.Equal(0, await stream.ReadAsync(new byte[1]).InTime());

        _peer.Close(timeout: 0);
        await Eventually.UntilAsync("the reset is seen", async () => await Record.ExceptionAsync(async () => await stream.WriteAsync(new byte[1])) is IOException);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task What_is_not_there_is_not_waited_for(bool onEventLoop)
    {
        var (stream, source) = Open(onEventLoop);
        var buffer = new byte[10];
        Assert.False(source.TryRead(buffer, out _));

        _peer.Send([7]);
        await stream.ReadAsync(Memory<byte>.Empty).InTime();
        Assert.True(source.TryRead(buffer, out var count));
        Assert.Equal((1, 7), (count, buffer[0]));

        _peer.Shutdown(SocketShutdown.Send);
        await stream.ReadAsync(Memory<byte>.Empty).InTime();
        Assert.True(source.TryRead(buffer, out count));
        Assert.Equal(0, count);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_reset_ends_the_wait_and_is_thrown_by_the_read(bool onEventLoop)
    {
        var (_, source) = Open(onEventLoop);
        while (source.TryRead(new byte[1], out _))
        {
        }

        var waiting = source.WaitForEventAsync(CancellationToken.None).AsTask();
        _peer.Close(timeout: 0);
        await waiting.InTime();
        Assert.Throws<IOException>(() => source.TryRead(new byte[1], out _));
    }

    [Fact]
    public async Task A_reset_is_no_end_and_no_other_fault()
    {
        var (stream, source) = Open(onEventLoop: true);
        _peer.Close(timeout: 0);
        await stream.ReadAsync(Memory<byte>.Empty).AsTask().InTime();
        Assert.Equal(SocketError.ConnectionReset, FaultOf(() => source.TryRead(new byte[1], out _)));
        Assert.Equal(SocketError.Shutdown, FaultOf(() => source.TryWrite(new byte[1], more: false)));
        Assert.Equal(SocketError.Shutdown, FaultOf(() => source.TryWrite(new byte[1], more: true)));

        static SocketError FaultOf(Action action) => Assert.IsType<SocketException>(Assert.Throws<IOException>(action).InnerException).SocketErrorCode;
    }

    // A read that is not filled has emptied the socket; what comes between the two, and an end behind it, must not be missed.
    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Nothing_is_missed_between_a_read_and_the_next_wait(bool onEventLoop)
    {
        var (_, source) = Open(onEventLoop);
        const int Total = 200_000;
        var sending = Task.Run(() =>
        {
            var random = new Random(1);
            for (var sent = 0; sent < Total;)
            {
                sent += _peer.Send(new byte[Math.Min(random.Next(1, 40), Total - sent)]);
            }

            _peer.Shutdown(SocketShutdown.Send);
        });

        var buffer = new byte[64];
        for (var received = 0; ;)
        {
            await source.WaitForEventAsync(CancellationToken.None).InTime();
            if (!source.TryRead(buffer, out var count))
            {
                continue;
            }

            if (count == 0)
            {
                Assert.Equal(Total, received);
                break;
            }

            received += count;
        }

        await sending.InTime();
    }

    // A read stops before it, with more behind.
    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task What_follows_urgent_data_is_read_too(bool onEventLoop)
    {
        var (stream, _) = Open(onEventLoop);
        _peer.Send("before"u8);
        _peer.Send("!"u8, SocketFlags.OutOfBand);
        _peer.Send("behind"u8);
        var octets = new byte["beforebehind".Length];
        await stream.ReadExactlyAsync(octets).InTime();
        Assert.Equal("beforebehind", Encoding.ASCII.GetString(octets));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_write_that_the_peer_does_not_take_waits_and_then_goes_on(bool onEventLoop)
    {
        var (stream, _) = Open(onEventLoop);
        var octets = new byte[16 * 1024 * 1024];
        new Random(1).NextBytes(octets);
        var writing = stream.WriteAsync(octets).AsTask();
        Assert.False(writing.IsCompleted);

        var received = new byte[octets.Length];
        await Task.Run(() =>
        {
            for (var count = 0; count < received.Length;)
            {
                count += _peer.Receive(received.AsSpan(count));
            }
        }).InTime();
        await writing.InTime();
        Assert.True(octets.AsSpan().SequenceEqual(received));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_wait_can_be_cancelled_and_the_next_one_is_not_touched_by_it(bool onEventLoop)
    {
        var (stream, _) = Open(onEventLoop);
        for (var round = 0; round < 100; round++)
        {
            using var cancellation = new CancellationTokenSource();
            var waiting = stream.ReadAsync(new byte[1], cancellation.Token).AsTask();
            await cancellation.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting.InTime());

            var next = stream.ReadAsync(new byte[1]).AsTask();
            Assert.False(next.IsCompleted);
            _peer.Send([1]);
            Assert.Equal(1, await next.InTime());
        }
    }

    [Fact]
    public async Task Who_waits_learns_that_the_stream_was_disposed()
    {
        var (stream, _) = Open(onEventLoop: true);
        var reading = stream.ReadAsync(new byte[1]).AsTask();
        var writing = stream.WriteAsync(new byte[16 * 1024 * 1024]).AsTask();
        Assert.False(reading.IsCompleted || writing.IsCompleted);
        await stream.DisposeAsync();
        await Assert.ThrowsAnyAsync<IOException>(() => reading.InTime());
        await Assert.ThrowsAnyAsync<IOException>(() => writing.InTime());
    }

    [Fact]
    public async Task What_moves_to_another_loop_is_told_of_there()
    {
        var (near, far) = (Loops.Shared!.Next(), Loops.Other!);
        var stream = new PolledStream(_socket, near);
        var reading = await BeginAsync();
        stream.MoveTo(far);
        _peer.Send([1]);
        Assert.Same(far, await reading.Loop.InTime());

        stream.MoveTo(far);
        reading = await BeginAsync();
        _peer.Send([2]);
        Assert.Same(far, await reading.Loop.InTime());

        await stream.DisposeAsync();
        stream.MoveTo(near);
        await Assert.ThrowsAnyAsync<IOException>(async () => await stream.ReadAsync(new byte[1]).InTime());

        // Away from the test's context, in which the read would go on; the pair keeps Task.Run from waiting for it.
        Task<(Task<EventLoop?> Loop, bool)> BeginAsync() => Task.Run(() => (LoopOfReadAsync(), true));

        async Task<EventLoop?> LoopOfReadAsync()
        {
            Assert.Equal(1, await stream.ReadAsync(new byte[1]));
            return EventLoop.Current;
        }
    }

    [Fact]
    public async Task Nothing_is_missed_while_a_stream_moves_to_and_fro()
    {
        var (near, far) = (Loops.Shared!.Next(), Loops.Other!);
        var stream = new PolledStream(_socket, near);
        const int Total = 20_000;
        var echoing = Task.Run(() =>
        {
            var buffer = new byte[100];
            for (var received = 0; received < Total;)
            {
                var count = _peer.Receive(buffer);
                received += count;
                _peer.Send(buffer, count, SocketFlags.None);
            }

            _peer.Shutdown(SocketShutdown.Send);
        });
        using var stop = new CancellationTokenSource();
        var moving = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                stream.MoveTo(far);
                stream.MoveTo(near);
            }
        });
        try
        {
            for (var sent = 0; sent < Total; sent++)
            {
                await stream.WriteAsync(new byte[1]).InTime();
                Assert.Equal(1, await stream.ReadAsync(new byte[1]).InTime());
            }

            Assert.Equal(0, await stream.ReadAsync(new byte[1]).InTime());
        }
        finally
        {
            await stop.CancelAsync();
            await moving.InTime();
        }

        await echoing.InTime();
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task As_much_is_written_as_there_is_room_for(bool onEventLoop)
    {
        var (stream, polled) = Open(onEventLoop);
        var octets = new byte[64 * 1024];
        Random.Shared.NextBytes(octets);
        long written = 0;
        for (var last = octets.Length; last == octets.Length; written += last)
        {
            last = polled.TryWrite(octets, more: true);
        }

        Assert.Equal(0, polled.TryWrite(octets, more: false));
        for (long read = 0; read < written;)
        {
            var part = new byte[1024 * 1024];
            var count = _peer.Receive(part, (int)Math.Min(part.Length, written - read), SocketFlags.None);
            Assert.True(Enumerable.Range(0, count).All(i => part[i] == octets[(read + i) % octets.Length]));
            read += count;
        }

        // What waits for more is sent by the next without.
        Assert.Equal(3, polled.TryWrite(octets.AsSpan(0, 3), more: true));
        Assert.Equal(2, polled.TryWrite(octets.AsSpan(3, 2), more: false));
        Assert.Equal(octets[..5], await ReceiveAsync(5));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_lost_connection_is_not_written_to(bool onEventLoop)
    {
        var (stream, polled) = Open(onEventLoop);
        _peer.Close(timeout: 0);
        await Assert.ThrowsAnyAsync<IOException>(async () => await stream.ReadAsync(new byte[1]).InTime());
        Assert.ThrowsAny<IOException>(() => polled.TryWrite(new byte[1], more: false));
        Assert.ThrowsAny<IOException>(() => polled.TryWrite(new byte[1], more: true));
    }

    private async Task<byte[]> ReceiveAsync(int count)
    {
        var octets = new byte[count];
        for (var read = 0; read < count;)
        {
            read += await _peer.ReceiveAsync(octets.AsMemory(read)).InTime();
        }

        return octets;
    }

    private (Stream Stream, IPolledStream Source) Open(bool onEventLoop)
    {
        if (onEventLoop)
        {
            var polled = new PolledStream(_socket, Loops.Shared!.Next());
            return (polled, polled);
        }

        var stream = new SocketStream(_socket);
        return (stream, stream);
    }
}
