using System.Net;
using System.Net.Sockets;
using Mesh.Testing;

namespace Mesh.Hbone.Transport;

/// <summary>Connections whose ends go on on the threads of event loops.</summary>
public sealed class EventLoopTests
{
    private const int Connections = 200;

    private readonly SocketTransportFactory _sockets = new(new SocketTransportOptions { EventLoops = Loops.Shared });

    [Fact]
    public async Task Each_of_many_connections_carries_its_own_octets_to_the_end_both_ways()
    {
        await using var listener = _sockets.Listen(new IPEndPoint(IPAddress.IPv6Any, 0));
        var serving = Task.WhenAll(Enumerable.Range(0, Connections).Select(async _ =>
        {
            await using var accepted = await AcceptAsync(listener);
            await accepted.Stream.CopyToAsync(accepted.Stream);
            accepted.ShutdownSend();
        }));
        var heard = await Task.WhenAll(Enumerable.Range(0, Connections).Select(number => ExchangeAsync(listener.LocalEndPoint.Port, number))).InTime();
        await serving.InTime();
        Assert.All(heard, Assert.True);

        async Task<bool> ExchangeAsync(int port, int number)
        {
            var address = number % 2 == 0 ? IPAddress.Loopback : IPAddress.IPv6Loopback;
            await using var connection = await _sockets.ConnectAsync(new IPEndPoint(address, port), null, default);
            Assert.Equal(address, connection.LocalEndPoint.Address);
            var octets = new byte[(number * 1_000) + 1];
            new Random(number).NextBytes(octets);
            var sending = Task.Run(async () =>
            {
                await connection.Stream.WriteAsync(octets);
                connection.ShutdownSend();
            });
            using var echo = new MemoryStream();
            await connection.Stream.CopyToAsync(echo);
            await sending;
            return octets.AsSpan().SequenceEqual(echo.ToArray());
        }
    }

    [Fact]
    public async Task A_port_where_nobody_listens_is_told_as_without_event_loops()
    {
        await using var listener = _sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        var free = listener.LocalEndPoint;
        await listener.DisposeAsync();
        var failure = await Assert.ThrowsAsync<IOException>(() => _sockets.ConnectAsync(free, null, default).InTime());
        var ordinary = await Assert.ThrowsAsync<IOException>(() => new SocketTransportFactory().ConnectAsync(free, null, default).InTime());
        Assert.Equal((SocketError.ConnectionRefused, ordinary.Message), (Assert.IsType<SocketException>(failure.InnerException).SocketErrorCode, failure.Message));
    }

    // What connect(2) refuses at once, not later.
    [Fact]
    public async Task An_address_that_cannot_be_connected_to_is_told_as_without_event_loops()
    {
        var nowhere = new IPEndPoint(IPAddress.Broadcast, 80);
        var failure = await Assert.ThrowsAsync<IOException>(() => _sockets.ConnectAsync(nowhere, null, default).InTime());
        var ordinary = await Assert.ThrowsAsync<IOException>(() => new SocketTransportFactory().ConnectAsync(nowhere, null, default).InTime());
        Assert.Equal(ordinary.Message, failure.Message);
    }

    [Fact]
    public async Task The_source_is_the_address_that_was_asked_for()
    {
        await using var listener = _sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        var source = IPAddress.Parse("127.44.0.1");
        await using var connection = await _sockets.ConnectAsync(listener.LocalEndPoint, source, default);
        await using var accepted = await AcceptAsync(listener);
        Assert.Equal((source, source), (connection.LocalEndPoint.Address, accepted.RemoteEndPoint.Address));
        Assert.Equal((connection.LocalEndPoint, connection.RemoteEndPoint), (accepted.RemoteEndPoint, accepted.LocalEndPoint));
    }

    // The queue of a listener that does not accept fills up, and the next connection waits for an answer.
    [Fact]
    public async Task An_attempt_to_connect_can_be_given_up()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(0);
        var begun = new List<Task<TransportConnection>>();
        using var cancellation = new CancellationTokenSource();
        for (var i = 0; i < 8; i++)
        {
            begun.Add(_sockets.ConnectAsync((IPEndPoint)listener.LocalEndPoint!, null, cancellation.Token).AsTask());
        }

        await Eventually.Until("the queue is full", () => begun.Any(one => one.IsCompletedSuccessfully));
        var waiting = begun.Where(one => !one.IsCompleted).ToList();
        Assert.NotEmpty(waiting);
        await cancellation.CancelAsync();
        foreach (var one in waiting)
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => one.InTime());
        }

        foreach (var one in begun.Except(waiting))
        {
            await (await one).DisposeAsync();
        }
    }

    [Fact]
    public async Task Waiting_for_a_connection_ends_with_the_listener_or_with_whoever_waits()
    {
        var listener = _sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        using var cancellation = new CancellationTokenSource();
        var cancelled = listener.AcceptAsync(cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled.InTime());

        var waiting = listener.AcceptAsync(default).AsTask();
        Assert.False(waiting.IsCompleted);
        await listener.DisposeAsync();
        Assert.Null(await waiting.InTime());
    }

    // On the thread of a loop: what is put off runs after the sockets of the turn, in order, and what it puts off itself in a later turn.
    [Fact]
    public async Task What_is_put_off_to_the_end_of_a_turn_runs_then()
    {
        await using var listener = _sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        await using var connection = await _sockets.ConnectAsync(listener.LocalEndPoint, null, default);
        await using var accepted = await AcceptAsync(listener);
        var order = new List<string>();
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        // Begun elsewhere, for the test's own context would be gone back to.
        var reading = await Task.Run(() => Task.FromResult(accepted.Stream.ReadAsync(new byte[1]).AsTask().ContinueWith(
            _ =>
            {
                var loop = EventLoop.Current!;
                loop.AtEndOfTurn(() =>
                {
                    order.Add("first");
                    loop.AtEndOfTurn(() =>
                    {
                        order.Add("later");
                        done.SetResult();
                    });
                });
                loop.AtEndOfTurn(() => order.Add("second"));
                order.Add("socket");
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default)));
        await connection.Stream.WriteAsync(new byte[1]);
        await reading.InTime();
        await done.Task.InTime();
        Assert.Equal(["socket", "first", "second", "later"], order);
        Assert.Null(EventLoop.Current);
    }

    private static async Task<TransportConnection> AcceptAsync(TransportListener listener) =>
        await listener.AcceptAsync(default).InTime() ?? throw new InvalidOperationException("the listener is closed");
}
