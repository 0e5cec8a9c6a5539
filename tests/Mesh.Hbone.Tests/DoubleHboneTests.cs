using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>Another network, reached through its gateway: a connection inside a tunnel (ztunnel §2.10).</summary>
public sealed class DoubleHboneTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private static readonly SpiffeId Gateway = SpiffeId.Parse("spiffe://cluster.local/ns/istio-system/sa/eastwest");
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly InMemoryTransportFactory _network = new();
    private readonly ConcurrentBag<string> _asked = [];
    private readonly List<Task> _serving = [];
    private readonly List<HboneListener> _carts = [];
    private WorkloadCertificates _certificates = null!;
    private HboneListener _gateway = null!;
    private HbonePool _pool = null!;
    private int _next;

    public Task InitializeAsync()
    {
        _certificates = new WorkloadCertificates(_authority);
        _gateway = Listen(Gateway, "192.0.2.1");
        _carts.AddRange([Listen(Cart, "10.1.0.1"), Listen(Cart, "10.1.0.2")]);
        _serving.Add(ForwardAsync());
        _serving.AddRange(_carts.Select(EchoAsync));
        _pool = new HbonePool(new HboneClient(_certificates, transport: _network));
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _pool.DisposeAsync();
        foreach (var listener in _carts.Append(_gateway))
        {
            await listener.DisposeAsync();
        }

        await Task.WhenAll(_serving).InTime();
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Fact]
    public async Task Octets_reach_the_server_behind_the_gateway_and_its_identity_is_proved_end_to_end()
    {
        await using var tunnel = await _pool.ConnectAsync(Through("cart.shop:80"), "cart.shop:80").InTime();
        Assert.Equal(Cart, tunnel.PeerIdentity);

        var sent = RandomNumberGenerator.GetBytes(3 * 1024 * 1024);
        var sending = Task.Run(async () =>
        {
            await tunnel.Output.WriteAsync(sent);
            await tunnel.Output.CompleteAsync();
        });
        var received = new MemoryStream();
        await tunnel.Input.CopyToAsync(received).InTime();
        await sending.InTime();
        Assert.Equal(SHA256.HashData(sent), SHA256.HashData(received.ToArray()));
        Assert.Equal(["cart.shop:80"], _asked.Distinct());
    }

    [Fact]
    public async Task Tunnels_share_the_connection_inside_and_the_one_outside()
    {
        await using var first = await _pool.ConnectAsync(Through("cart.shop:80"), "cart.shop:80").InTime();
        await using var second = await _pool.ConnectAsync(Through("cart.shop:80"), "cart.shop:80").InTime();
        Assert.Equal(first.ConnectionId, second.ConnectionId);
        Assert.Equal(2, _pool.ConnectionCount);
        Assert.Single(_asked);
    }

    [Fact]
    public async Task Another_target_behind_the_same_gateway_has_a_connection_of_its_own_on_the_same_one_outside()
    {
        await using var first = await _pool.ConnectAsync(Through("cart.shop:80"), "cart.shop:80").InTime();
        await using var second = await _pool.ConnectAsync(Through("stock.shop:80"), "stock.shop:80").InTime();
        Assert.NotEqual(first.ConnectionId, second.ConnectionId);
        Assert.Equal(3, _pool.ConnectionCount);
    }

    [Fact]
    public async Task Where_there_are_several_servers_the_tunnels_spread_over_them()
    {
        var destination = Through("cart.shop:80", capacity: 2);
        await using var first = await _pool.ConnectAsync(destination, "cart.shop:80").InTime();
        await using var second = await _pool.ConnectAsync(destination, "cart.shop:80").InTime();
        await Eventually.Until("a second connection inside", () => _pool.ConnectionCount == 3);
        await using var third = await _pool.ConnectAsync(destination, "cart.shop:80").InTime();
        await using var fourth = await _pool.ConnectAsync(destination, "cart.shop:80").InTime();
        Assert.Equal(2, new[] { first, second, third, fourth }.Select(tunnel => tunnel.ConnectionId).Distinct().Count());
        Assert.Equal(2, _asked.Count);
    }

    [Fact]
    public async Task A_server_with_another_identity_is_refused_though_the_gateway_led_there()
    {
        var destination = new HboneDestination(ToGateway(), "cart.shop:80", [Web]);
        var failure = await Assert.ThrowsAsync<HboneException>(() => _pool.ConnectAsync(destination, "cart.shop:80").InTime());
        Assert.Equal(HboneError.PeerRejected, failure.Error);
    }

    [Fact]
    public async Task A_gateway_that_refuses_is_named_by_its_status()
    {
        var failure = await Assert.ThrowsAsync<HboneException>(() => _pool.ConnectAsync(Through("nobody.shop:80"), "nobody.shop:80").InTime());
        Assert.Equal((HboneError.Refused, 503), (failure.Error, failure.Status!.Value));
    }

    [Fact]
    public async Task Without_a_pool_it_works_too()
    {
        await using var tunnel = await new HboneClient(_certificates, transport: _network).ConnectAsync(Through("cart.shop:80"), "cart.shop:80").InTime();
        Assert.Equal(Cart, tunnel.PeerIdentity);
    }

    [Fact]
    public void A_gateway_behind_a_gateway_is_refused() =>
        Assert.Throws<ArgumentException>(() => new HboneDestination(Through("cart.shop:80"), "cart.shop:80", [Cart]));

    private HboneDestination ToGateway() => new(Web, [Gateway], _gateway.LocalEndPoint);

    private HboneDestination Through(string authority, int capacity = 1) => new(ToGateway(), authority, [Cart]) { Capacity = capacity };

    private HboneListener Listen(SpiffeId identity, string address) => HboneListener.Start(
        _network.Listen(new IPEndPoint(IPAddress.Parse(address), 15008)),
        new HboneListenerOptions { Certificate = token => _certificates.GetAsync(identity, cancellationToken: token), Trust = _authority.TrustBundle });

    // To the gateway, what is inside is octets. It chooses a server for each tunnel in turn.
    private async Task ForwardAsync()
    {
        while (await _gateway.AcceptAsync() is { } request)
        {
            _asked.Add(request.Authority);
            if (request.Authority.StartsWith("nobody", StringComparison.Ordinal))
            {
                request.Refuse(503);
                continue;
            }

            var server = await _network.ConnectAsync(_carts[_next++ % _carts.Count].LocalEndPoint, null, CancellationToken.None);
            _ = RelayAsync(server, request.Accept());
        }
    }

    private static async Task RelayAsync(TransportConnection server, HboneTunnel tunnel)
    {
        await using (server)
        {
            await using (tunnel)
            {
                try
                {
                    await TunnelRelay.RunAsync(server, tunnel, new RelayCounters());
                }
                catch (IOException)
                {
                    // One of the two is gone.
                }
            }
        }
    }

    private static async Task EchoAsync(HboneListener listener)
    {
        while (await listener.AcceptAsync() is { } request)
        {
            _ = Task.Run(async () =>
            {
                await using var tunnel = request.Accept();
                await tunnel.Input.CopyToAsync(tunnel.Output);
            });
        }
    }
}
