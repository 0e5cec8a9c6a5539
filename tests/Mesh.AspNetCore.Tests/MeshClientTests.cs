using Mesh.AspNetCore.Client;
using Mesh.Core.Identity;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Mesh.AspNetCore;

/// <summary>HttpClient through the mesh: where a request goes, and what does not leave at all.</summary>
public sealed class MeshClientTests
{
    [Theory]
    [InlineData("cart.shop.svc.cluster.local")]
    [InlineData("CART.shop.svc.cluster.local")]
    [InlineData("10.96.0.2")]
    [InlineData("10.0.0.2")]
    public async Task A_service_is_found_by_name_or_virtual_address_and_a_workload_by_its_own(string host)
    {
        await using var shop = await Shop.OpenAsync();
        Assert.Contains("10.0.0.2:80", await shop.Client("web").GetStringAsync($"http://{host}/").InTime(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("nobody.shop.svc.cluster.local", 80, "knows no service nobody.shop.svc.cluster.local")]
    [InlineData("cart.shop.svc.cluster.local", 81, "has no port 81")]
    [InlineData("192.0.2.1", 80, "neither a service nor a workload")]
    [InlineData("10.0.0.3", 80, "does not take HBONE")]
    public async Task What_the_mesh_cannot_carry_is_refused_and_not_sent_in_plain_text(string host, int port, string why)
    {
        await using var shop = await Shop.OpenAsync();
        var failure = await Assert.ThrowsAsync<HboneException>(() => shop.Connector("web").ConnectAsync(host, port).InTime());
        Assert.Equal(HboneError.NotInMesh, failure.Error);
        Assert.Contains(why, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_waypoint_gets_everything_by_the_name_that_was_asked_for()
    {
        await using var shop = await Shop.OpenAsync();
        using var client = shop.Client("web", new MeshWaypoint(Shop.CartAddress, Shop.Cart));
        Assert.Contains("anything.example:80", await client.GetStringAsync("http://anything.example/").InTime(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_waypoint_with_another_identity_is_refused()
    {
        await using var shop = await Shop.OpenAsync();
        using var client = shop.Client("web", new MeshWaypoint(Shop.CartAddress, Shop.Identity("other")));
        var failure = await Assert.ThrowsAsync<HttpRequestException>(() => client.GetStringAsync("http://anything.example/").InTime());
        Assert.Equal(HboneError.PeerRejected, Assert.IsType<HboneException>(failure.InnerException).Error);
    }

    [Fact]
    public async Task Requests_at_once_share_the_connection_to_a_workload()
    {
        await using var shop = await Shop.OpenAsync();
        var pool = shop.Pool("web");
        var destination = new HboneDestination(Shop.Identity("web"), [Shop.Cart], Shop.CartAddress);
        var tunnels = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => pool.ConnectAsync(destination, "10.0.0.2:80"))).InTime();
        Assert.Equal(1, pool.ConnectionCount);
        foreach (var tunnel in tunnels)
        {
            await tunnel.DisposeAsync();
        }
    }

    [Theory]
    [InlineData(null, "Identity is not set; allowed is a SPIFFE ID of a service account")]
    [InlineData("spiffe://cluster.local/something", "Identity is spiffe://cluster.local/something; allowed is spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
    public void An_identity_that_is_none_is_refused_at_start(string? identity, string message)
    {
        var services = new ServiceCollection();
        services.AddMesh(mesh => mesh.Identity = identity is null ? null : SpiffeId.Parse(identity));
        using var provider = services.BuildServiceProvider();
        Assert.Equal(message, Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IOptions<MeshOptions>>().Value).Message);
    }

    [Fact]
    public void Adding_the_mesh_twice_adds_nothing_twice()
    {
        var services = new ServiceCollection();
        services.AddMesh(mesh => mesh.HbonePort = 1);
        var count = services.Count(service => service.ImplementationType is not null);
        services.AddMesh(mesh => mesh.Identity = Shop.Cart);
        Assert.Equal(count, services.Count(service => service.ImplementationType is not null));
        using var provider = services.BuildServiceProvider();
        Assert.Equal((1, Shop.Cart), (provider.GetRequiredService<IOptions<MeshOptions>>().Value.HbonePort, provider.GetRequiredService<IOptions<MeshOptions>>().Value.Identity!));
    }
}
