using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>The pool under load, and with certificates that age: which connection a new tunnel goes to. The clock stands still, so that anything much is a load.</summary>
public sealed class HbonePoolSpreadTests : IAsyncLifetime
{
    private const int Mebi = 1024 * 1024;
    private static readonly TimeSpan Never = TimeSpan.FromHours(24);
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-pool-");
    private readonly DevelopmentCertificateAuthority _longLived;
    private readonly DevelopmentCertificateAuthority _shortLived;
    private readonly WorkloadCertificates _clientCertificates;
    private readonly WorkloadCertificates _serverCertificates;
    private readonly CountingFactory _transport = new();
    private HboneListener _listener = null!;
    private Task _serving = Task.CompletedTask;

    public HbonePoolSpreadTests()
    {
        // One root. The client's certificates outlive every test, so that it is the server's that expires.
        _longLived = DevelopmentCertificateAuthority.Open(_directory.FullName, TimeSpan.FromDays(100), _time);
        _shortLived = DevelopmentCertificateAuthority.Open(_directory.FullName, TimeSpan.FromHours(1), _time);
        _clientCertificates = new WorkloadCertificates(_longLived, time: _time);
        _serverCertificates = new WorkloadCertificates(_shortLived, time: _time);
        _longLived.Trust(Cart.TrustDomain);
        _shortLived.Trust(Cart.TrustDomain);
    }

    public Task InitializeAsync()
    {
        Listen(maxConnections: 1_000);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _listener.DisposeAsync().InTime();
        await _serving.InTime();
        await _clientCertificates.DisposeAsync();
        await _serverCertificates.DisposeAsync();
        _longLived.Dispose();
        _shortLived.Dispose();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task A_connection_that_is_the_bottleneck_gets_a_second_beside_it_and_new_tunnels_go_to_both()
    {
        await using var pool = Pool(connections: 2);
        var tunnels = new List<HboneTunnel> { await ConnectAsync(pool), await ConnectAsync(pool) };
        await LoadAsync(tunnels[0]);
        await Eventually.Until("there is a second connection", () => pool.ConnectionCount == 2);
        for (var i = 0; i < 6; i++)
        {
            tunnels.Add(await ConnectAsync(pool));
        }

        Assert.Equal([4, 4], tunnels.GroupBy(tunnel => tunnel.ConnectionId).Select(group => group.Count()));
        foreach (var tunnel in tunnels)
        {
            await SayAndHearAsync(tunnel);
        }
    }

    [Fact]
    public async Task A_single_tunnel_is_not_relieved_but_the_next_one_has_a_connection_made_for_those_behind_it()
    {
        await using var pool = Pool(connections: 2);
        var first = await ConnectAsync(pool);
        await LoadAsync(first);
        Assert.Equal((1, 1), (pool.ConnectionCount, _transport.Connects));

        var second = await ConnectAsync(pool);
        Assert.Equal(first.ConnectionId, second.ConnectionId);
        await Eventually.Until("there is a second connection", () => pool.ConnectionCount == 2);
        Assert.NotEqual(first.ConnectionId, (await ConnectAsync(pool)).ConnectionId);
    }

    [Fact]
    public async Task There_are_never_more_connections_than_allowed_however_much_they_carry()
    {
        await using var pool = Pool(connections: 2);
        var tunnels = new List<HboneTunnel>();
        for (var i = 0; i < 6; i++)
        {
            tunnels.Add(await ConnectAsync(pool));
            await LoadAsync(tunnels[^1]);
        }

        await Eventually.Until("there is a second connection", () => pool.ConnectionCount == 2);
        Assert.Equal(2, _transport.Connects);
    }

    [Fact]
    public async Task With_one_connection_allowed_nothing_spreads()
    {
        await using var pool = Pool(connections: 1);
        var tunnels = new List<HboneTunnel>();
        for (var i = 0; i < 5; i++)
        {
            tunnels.Add(await ConnectAsync(pool));
            await LoadAsync(tunnels[^1]);
        }

        Assert.Equal((1, 1), (pool.ConnectionCount, _transport.Connects));
        Assert.Single(tunnels.Select(tunnel => tunnel.ConnectionId).Distinct());
    }

    [Fact]
    public async Task A_minute_after_the_load_new_tunnels_keep_to_one_connection_and_the_other_is_let_go()
    {
        await using var pool = Pool(connections: 2);
        var first = await ConnectAsync(pool);
        await LoadAsync(first);
        var second = await ConnectAsync(pool);
        await Eventually.Until("there is a second connection", () => pool.ConnectionCount == 2);
        var third = await ConnectAsync(pool);
        Assert.NotEqual(first.ConnectionId, third.ConnectionId);

        _time.Advance(TimeSpan.FromSeconds(61));
        var later = new List<HboneTunnel>();
        for (var i = 0; i < 10; i++)
        {
            later.Add(await ConnectAsync(pool));
        }

        var kept = Assert.Single(later.Select(tunnel => tunnel.ConnectionId).Distinct());
        foreach (var tunnel in new[] { first, second, third }.Where(tunnel => tunnel.ConnectionId != kept))
        {
            await EndAsync(tunnel);
        }

        _time.Advance(TimeSpan.FromMinutes(12));
        Assert.Equal(1, pool.ConnectionCount);
        await SayAndHearAsync(later[0]);
        Assert.Equal(kept, (await ConnectAsync(pool)).ConnectionId);
    }

    [Fact]
    public async Task Within_the_minute_they_still_spread()
    {
        await using var pool = Pool(connections: 2);
        var first = await ConnectAsync(pool);
        await LoadAsync(first);
        await ConnectAsync(pool);
        await Eventually.Until("there is a second connection", () => pool.ConnectionCount == 2);

        // The server, too, has shaken hands before the clock goes on.
        Assert.NotEqual(first.ConnectionId, (await ConnectAsync(pool)).ConnectionId);
        _time.Advance(TimeSpan.FromSeconds(59));
        var ids = new List<long>();
        for (var i = 0; i < 6; i++)
        {
            ids.Add((await ConnectAsync(pool)).ConnectionId);
        }

        Assert.Equal(2, ids.Distinct().Count());
    }

    [Fact]
    public async Task A_hundred_quiet_clients_stay_on_one_connection()
    {
        await using var pool = Pool(connections: 8);
        var tunnels = await Task.WhenAll(Enumerable.Range(0, 100).Select(_ => ConnectAsync(pool)));
        for (var round = 0; round < 5; round++)
        {
            foreach (var tunnel in tunnels)
            {
                await SayAndHearAsync(tunnel);
                _time.Advance(TimeSpan.FromMilliseconds(10));
            }
        }

        Assert.Equal((1, 1), (pool.ConnectionCount, _transport.Connects));
    }

    [Fact]
    public async Task A_further_connection_that_cannot_be_made_disturbs_nobody_and_is_not_tried_again_at_once()
    {
        await using var pool = Pool(connections: 2);
        var first = await ConnectAsync(pool);
        _transport.Refuses = true;
        await LoadAsync(first);
        for (var i = 0; i < 10; i++)
        {
            await SayAndHearAsync(await ConnectAsync(pool));
        }

        await Eventually.Until("it was tried", () => _transport.Connects == 2);
        for (var i = 0; i < 10; i++)
        {
            await SayAndHearAsync(await ConnectAsync(pool));
        }

        await SayAndHearAsync(first);
        Assert.Equal((1, 2), (pool.ConnectionCount, _transport.Connects));

        _transport.Refuses = false;
        _time.Advance(TimeSpan.FromSeconds(11));
        await ConnectAsync(pool);
        await Eventually.Until("it was tried again, and taken", () => pool.ConnectionCount == 2);
        Assert.Equal(3, _transport.Connects);
    }

    [Fact]
    public async Task A_server_that_takes_one_connection_only_gets_all_tunnels_on_that_one()
    {
        await _listener.DisposeAsync();
        await _serving.InTime();
        Listen(maxConnections: 1);
        await using var pool = Pool(connections: 2);
        var tunnels = new List<HboneTunnel> { await ConnectAsync(pool) };
        await LoadAsync(tunnels[0]);
        for (var i = 0; i < 20; i++)
        {
            tunnels.Add(await ConnectAsync(pool));
            await SayAndHearAsync(tunnels[^1]);
        }

        Assert.Single(tunnels.Select(tunnel => tunnel.ConnectionId).Distinct());
        await SayAndHearAsync(tunnels[0]);
    }

    [Fact]
    public async Task A_connection_whose_peer_has_a_certificate_that_expired_takes_no_new_tunnels_and_keeps_its_own()
    {
        await using var pool = Pool(connections: 1);
        var old = await ConnectAsync(pool);
        _time.Advance(TimeSpan.FromMinutes(59));
        var within = await ConnectAsync(pool);
        Assert.Equal(old.ConnectionId, within.ConnectionId);

        _time.Advance(TimeSpan.FromMinutes(2));
        var renewed = await ConnectAsync(pool);

        Assert.NotEqual(old.ConnectionId, renewed.ConnectionId);
        Assert.Equal(1, pool.ConnectionCount);
        foreach (var tunnel in new[] { old, within, renewed })
        {
            await SayAndHearAsync(tunnel);
        }
    }

    [Fact]
    public async Task A_connection_made_with_other_roots_takes_no_new_tunnels_and_keeps_its_own()
    {
        await using var pool = Pool(connections: 1);
        var old = await ConnectAsync(pool);
        _longLived.TrustBundle.Replace(Cart.TrustDomain, [_longLived.Root]);
        var renewed = await ConnectAsync(pool);

        Assert.NotEqual(old.ConnectionId, renewed.ConnectionId);
        Assert.Equal(1, pool.ConnectionCount);
        await SayAndHearAsync(old);
        await SayAndHearAsync(renewed);
    }

    [Fact]
    public async Task When_the_roots_are_gone_there_are_no_new_tunnels_and_the_old_ones_go_on()
    {
        await using var pool = Pool(connections: 1);
        var old = await ConnectAsync(pool);
        _longLived.TrustBundle.Replace(Cart.TrustDomain, []);

        var failure = await Assert.ThrowsAsync<HboneException>(() => ConnectAsync(pool));

        Assert.Equal(HboneError.PeerRejected, failure.Error);
        await SayAndHearAsync(old);
    }

    // Twice what the meter takes for a load, both ways.
    private static async Task LoadAsync(HboneTunnel tunnel)
    {
        var left = 32 * Mebi;
        var sending = SendAsync(tunnel, left);
        while (left > 0)
        {
            var result = await tunnel.Input.ReadAsync().InTime();
            left -= (int)result.Buffer.Length;
            tunnel.Input.AdvanceTo(result.Buffer.End);
        }

        await sending.InTime();
    }

    private static async Task SendAsync(HboneTunnel tunnel, int count)
    {
        var chunk = new byte[Mebi];
        for (; count > 0; count -= chunk.Length)
        {
            await tunnel.Output.WriteAsync(chunk);
        }
    }

    private static async Task SayAndHearAsync(HboneTunnel tunnel)
    {
        await tunnel.Output.SayAsync("still here", complete: false);
        var result = await tunnel.Input.ReadAtLeastAsync(10).InTime();
        Assert.Equal("still here"u8, System.Buffers.BuffersExtensions.ToArray(result.Buffer));
        tunnel.Input.AdvanceTo(result.Buffer.End);
    }

    private static async Task EndAsync(HboneTunnel tunnel)
    {
        await tunnel.Output.CompleteAsync();
        await tunnel.Input.SumAsync().InTime();
        await tunnel.DisposeAsync();
    }

    private Task<HboneTunnel> ConnectAsync(HbonePool pool) => pool.ConnectAsync(new HboneDestination(Web, [Cart], _listener.LocalEndPoint), "10.0.0.1:80").InTime();

    private HbonePool Pool(int connections) => new(
        new HboneClient(_clientCertificates, new HboneOptions { KeepAliveInterval = Never, KeepAliveTimeout = Never }, _transport, _time),
        new HbonePoolOptions { MaxStreamsPerConnection = 100, ConnectionsPerDestination = connections });

    private void Listen(int maxConnections)
    {
        _listener = HboneListener.Start(new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0)), new HboneListenerOptions
        {
            Certificate = token => _serverCertificates.GetAsync(Cart, cancellationToken: token),
            Trust = _shortLived.TrustBundle,
            Hbone = new HboneOptions { KeepAliveInterval = Never, KeepAliveTimeout = Never },
            MaxConnections = maxConnections,
            Time = _time,
        });
        _serving = ServeAsync(_listener);
    }

    private static async Task ServeAsync(HboneListener listener)
    {
        var echoes = new List<Task>();
        while (await listener.AcceptAsync() is { } request)
        {
            echoes.Add(EchoAsync(request.Accept()));
        }

        await Task.WhenAll(echoes);
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

    /// <summary>Sockets, until it is told to refuse; counts what it is asked for.</summary>
    private sealed class CountingFactory : TransportFactory
    {
        private readonly SocketTransportFactory _sockets = new();
        private int _connects;

        public int Connects => Volatile.Read(ref _connects);

        public bool Refuses { get; set; }

        public override ValueTask<TransportConnection> ConnectAsync(IPEndPoint remote, IPAddress? source, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _connects);
            return Refuses ? throw new IOException("refused") : _sockets.ConnectAsync(remote, source, cancellationToken);
        }

        public override TransportListener Listen(IPEndPoint local) => _sockets.Listen(local);
    }
}
