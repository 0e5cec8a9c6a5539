using System.Buffers;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>The pool against a listener of ours, over sockets, with a clock that the test turns.</summary>
public sealed class HbonePoolTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Admin = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/admin");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);
    private readonly ConcurrentBag<HboneTunnel> _served = [];
    private readonly DevelopmentCertificateAuthority _authority;
    private readonly WorkloadCertificates _certificates;
    private readonly WorkloadCertificates _clientCertificates;
    private readonly HboneOptions _options = new() { MaxConcurrentStreams = 1000, KeepAliveInterval = TimeSpan.FromHours(20), KeepAliveTimeout = TimeSpan.FromHours(20) };
    private HboneListener _listener = null!;
    private Task _serving = Task.CompletedTask;

    public HbonePoolTests()
    {
        _authority = DevelopmentCertificateAuthority.Create();
        _certificates = new WorkloadCertificates(_authority);
        _clientCertificates = new WorkloadCertificates(_authority);
    }

    public Task InitializeAsync()
    {
        _listener = Listen(new IPEndPoint(IPAddress.Loopback, 0));
        _serving = ServeAsync(_listener);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _listener.DisposeAsync();
        await _serving.InTime();
        await _clientCertificates.DisposeAsync();
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Theory]
    [InlineData(1, 3, 3)]
    [InlineData(2, 4, 2)]
    [InlineData(2, 5, 3)]
    [InlineData(100, 100, 1)]
    [InlineData(100, 101, 2)]
    public async Task Tunnels_share_connections_up_to_the_limit_and_no_further(int limit, int tunnels, int connections)
    {
        await using var pool = Pool(limit);
        var opened = new List<HboneTunnel>();
        for (var i = 0; i < tunnels; i++)
        {
            opened.Add(await ConnectAsync(pool));
        }

        Assert.Equal(connections, pool.ConnectionCount);
        Assert.All(opened.GroupBy(tunnel => tunnel.ConnectionId), group => Assert.InRange(group.Count(), 1, limit));
    }

    [Theory]
    [InlineData(100, 1)]
    [InlineData(300, 3)]
    public async Task Callers_at_once_wait_for_one_connection_at_a_time(int callers, int connections)
    {
        await using var pool = Pool(100);
        var tunnels = await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => ConnectAsync(pool)));
        Assert.Equal(connections, pool.ConnectionCount);
        Assert.Equal(connections, tunnels.Select(tunnel => tunnel.ConnectionId).Distinct().Count());
    }

    [Fact]
    public async Task Destinations_that_differ_in_anything_share_nothing()
    {
        await using var pool = Pool(100);
        HboneDestination[] destinations =
        [
            Destination(),
            new(Admin, [Cart], _listener.LocalEndPoint),
            new(Web, [Cart, Admin], _listener.LocalEndPoint),
            new(Web, [Admin, Cart], _listener.LocalEndPoint),
            new(Web, [Cart], _listener.LocalEndPoint, IPAddress.Loopback),
            new(Web, [Cart], _listener.LocalEndPoint, IPAddress.Parse("127.0.0.2")),
        ];
        var ids = new HashSet<long>();
        foreach (var destination in destinations)
        {
            Assert.True(ids.Add((await pool.ConnectAsync(destination, "a:1").InTime()).ConnectionId));
        }

        Assert.Equal(destinations.Length, pool.ConnectionCount);
        Assert.False(ids.Add((await ConnectAsync(pool)).ConnectionId));
    }

    [Fact]
    public async Task A_full_connection_is_used_again_when_it_has_room()
    {
        await using var pool = Pool(1);
        var first = await ConnectAsync(pool);
        var id = first.ConnectionId;
        await EndAsync(first);
        Assert.Equal(id, (await ConnectAsync(pool)).ConnectionId);
        Assert.Equal(1, pool.ConnectionCount);
    }

    [Fact]
    public async Task A_connection_that_was_told_to_go_away_is_replaced_and_its_tunnels_go_on()
    {
        await using var pool = Pool(100);
        var first = await ConnectAsync(pool);
        await Eventually.Until("it is served", () => !_served.IsEmpty);
        var address = _listener.LocalEndPoint;
        using var deadline = new CancellationTokenSource();
        var draining = _listener.DrainAsync(deadline.Token);
        HboneListener? taken = null;
        await Eventually.Until("the port is free", () => (taken = TryListen(address)) is not null);
        await using var next = taken!;
        var serving = ServeAsync(next);

        while ((await ConnectAsync(pool)) is var second && second.ConnectionId == first.ConnectionId)
        {
            // The GOAWAY is still on its way.
            await EndAsync(second);
        }

        Assert.Equal(1, pool.ConnectionCount);
        await first.Output.SayAsync("still here");
        Assert.Equal("still here", await first.Input.HearAsync().InTime());
        await draining.InTime();
        await pool.DisposeAsync();
        await next.DisposeAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task A_connection_without_tunnels_is_let_go_after_its_time()
    {
        await using var pool = Pool(100);
        await EndAsync(await ConnectAsync(pool));
        for (var minutes = 0; minutes < 4; minutes++)
        {
            _time.Advance(TimeSpan.FromMinutes(1));
            Assert.Equal(1, pool.ConnectionCount);
        }

        _time.Advance(TimeSpan.FromMinutes(8));
        Assert.Equal(0, pool.ConnectionCount);
        await using var again = await ConnectAsync(pool);
        Assert.Equal(1, pool.ConnectionCount);
    }

    [Fact]
    public async Task A_connection_with_a_tunnel_is_never_let_go()
    {
        await using var pool = Pool(100);
        var tunnel = await ConnectAsync(pool);
        for (var i = 0; i < 20; i++)
        {
            _time.Advance(TimeSpan.FromMinutes(2));
        }

        Assert.Equal(1, pool.ConnectionCount);
        await EndAsync(tunnel);
    }

    [Fact]
    public async Task A_caller_that_gives_up_leaves_the_others_their_connection()
    {
        await using var pool = Pool(100, new Gate(out var open, out var asked));
        using var impatient = new CancellationTokenSource();
        var first = pool.ConnectAsync(Destination(), "a:1", cancellationToken: impatient.Token);
        var others = Enumerable.Range(0, 10).Select(_ => ConnectAsync(pool)).ToArray();
        await asked.InTime();
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.InTime());
        open.SetResult();

        Assert.Single((await Task.WhenAll(others)).Select(tunnel => tunnel.ConnectionId).Distinct());
    }

    [Fact]
    public async Task A_failed_attempt_fails_all_who_wait_for_it_and_the_next_caller_tries_again()
    {
        await using var pool = Pool(100, new Gate(out var open, out var asked));
        var callers = Enumerable.Range(0, 10).Select(_ => ConnectAsync(pool)).ToArray();
        await asked.InTime();
        open.SetException(new IOException("no route"));
        foreach (var caller in callers)
        {
            var failure = await Assert.ThrowsAsync<HboneException>(() => caller.InTime());
            Assert.Equal((HboneError.ConnectFailed, "no route"), (failure.Error, failure.Message));
        }

        Assert.Equal(0, pool.ConnectionCount);
    }

    [Fact]
    public async Task A_connection_with_a_replaced_certificate_takes_no_new_tunnels_and_keeps_its_own()
    {
        await using var pool = Pool(100);
        var old = await ConnectAsync(pool);
        _clientCertificates.Forget(Web);
        var renewed = await ConnectAsync(pool);

        Assert.NotEqual(old.ConnectionId, renewed.ConnectionId);
        Assert.Equal(1, pool.ConnectionCount);
        await old.Output.SayAsync("as before");
        Assert.Equal("as before", await old.Input.HearAsync().InTime());
    }

    [Fact]
    public async Task Closing_the_pool_fails_its_tunnels_and_later_callers()
    {
        var pool = Pool(100);
        var tunnel = await ConnectAsync(pool);
        await pool.DisposeAsync().InTime();
        await pool.DisposeAsync().InTime();

        await Assert.ThrowsAsync<HboneException>(() => tunnel.Input.SumAsync().InTime());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => ConnectAsync(pool));
        Assert.Equal(0, pool.ConnectionCount);
    }

    [Theory]
    [InlineData(0, 5)]
    [InlineData(1, 0)]
    public void Options_out_of_range_are_refused(int limit, int minutes) => Assert.Throws<ArgumentException>(() => new HbonePool(
        new HboneClient(_clientCertificates), new HbonePoolOptions { MaxStreamsPerConnection = limit, UnusedReleaseTimeout = TimeSpan.FromMinutes(minutes) }));

    [Fact]
    public async Task A_server_that_takes_connections_but_no_tunnels_is_given_up_soon()
    {
        var connections = 0;
        await using var listener = new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0));
        var serving = Task.Run(async () =>
        {
            while (await listener.AcceptAsync(CancellationToken.None) is { } connection)
            {
                Interlocked.Increment(ref connections);
                _ = TakeNoTunnelsAsync(connection);
            }
        });
        await using var pool = Pool(100);

        var fault = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(new HboneDestination(Web, [Cart], listener.LocalEndPoint), "a:1").InTime());

        Assert.Equal((HboneError.Unprocessed, $"{listener.LocalEndPoint} takes connections, but no tunnels"), (fault.Error, fault.Message));
        Assert.InRange(connections, 1, 10);
        await listener.DisposeAsync();
        await serving.InTime();
    }

    // SETTINGS_MAX_CONCURRENT_STREAMS 0, and then silence.
    private async Task TakeNoTunnelsAsync(TransportConnection connection)
    {
        await using var tls = new SslStream(connection.Stream);
        var certificate = await _certificates.GetAsync(Cart);
        await tls.AuthenticateAsServerAsync(SpiffeTls.ServerOptions(certificate, _authority.TrustBundle, new PeerVerification(), TimeProvider.System));
        var settings = new ArrayBufferWriter<byte>();
        FrameWriter.WriteSettings(settings, (Http2Setting.MaxConcurrentStreams, 0u));
        await tls.WriteAsync(settings.WrittenMemory);
        try
        {
            await tls.CopyToAsync(Stream.Null);
        }
        catch (IOException)
        {
            // The client has gone.
        }
    }

    private static async Task EndAsync(HboneTunnel tunnel)
    {
        await tunnel.Output.CompleteAsync();
        await tunnel.Input.SumAsync().InTime();
        await tunnel.DisposeAsync();
    }

    private static async Task EchoAsync(HboneTunnel tunnel)
    {
        await using var disposing = tunnel;
        try
        {
            await tunnel.EchoAsync();
        }
        catch (HboneException)
        {
            // The test closed the pool.
        }
    }

    private HboneDestination Destination() => new(Web, [Cart], _listener.LocalEndPoint);

    private Task<HboneTunnel> ConnectAsync(HbonePool pool) => pool.ConnectAsync(Destination(), "10.0.0.1:80").InTime();

    private HbonePool Pool(int limit, TransportFactory? transport = null) => new(
        new HboneClient(_clientCertificates, _options, transport, _time), new HbonePoolOptions { MaxStreamsPerConnection = limit });

    private HboneListener? TryListen(IPEndPoint address)
    {
        try
        {
            return Listen(address);
        }
        catch (IOException)
        {
            return null;
        }
    }

    private HboneListener Listen(IPEndPoint address) => HboneListener.Start(new SocketTransportFactory().Listen(address), new HboneListenerOptions
    {
        Certificate = token => _certificates.GetAsync(Cart, cancellationToken: token),
        Trust = _authority.TrustBundle,
        Hbone = new HboneOptions { MaxConcurrentStreams = 1000 },
    });

    private async Task ServeAsync(HboneListener listener)
    {
        var echoes = new List<Task>();
        while (await listener.AcceptAsync() is { } request)
        {
            var tunnel = request.Accept();
            _served.Add(tunnel);
            echoes.Add(EchoAsync(tunnel));
        }

        await Task.WhenAll(echoes);
    }

    /// <summary>Connects when the test lets it, or fails as the test says.</summary>
    private sealed class Gate : TransportFactory
    {
        private readonly SocketTransportFactory _sockets = new();
        private readonly TaskCompletionSource _open = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Gate(out TaskCompletionSource open, out Task asked) => (open, asked) = (_open, _asked.Task);

        public override async ValueTask<TransportConnection> ConnectAsync(IPEndPoint remote, IPAddress? source, CancellationToken cancellationToken)
        {
            _asked.TrySetResult();
            await _open.Task.WaitAsync(cancellationToken);
            return await _sockets.ConnectAsync(remote, source, cancellationToken);
        }

        public override TransportListener Listen(IPEndPoint local) => _sockets.Listen(local);
    }
}
