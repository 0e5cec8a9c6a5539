using System.Net;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Xunit;

namespace PolicyTests;

/// <summary>What the policies of the shop are meant to do. No cluster, no proxy, no network: a decision is a function.</summary>
public sealed class ShopPolicyTests
{
    private static readonly MeshSnapshot Mesh = LocalConfiguration.Load(Path.Combine(AppContext.BaseDirectory, "mesh.yaml")).ToState().Current;

    [Theory]
    [InlineData("client", "web", 8080, true)]
    [InlineData("web", "cart", 8080, true)]
    [InlineData("client", "cart", 8080, false)]
    [InlineData("cart", "web", 8080, false)]
    [InlineData("web", "cart", 9090, false)]
    public void Who_may_call_whom(string source, string destination, int port, bool allowed) =>
        Assert.Equal(allowed, Decide(source, destination, port) is L4Decision.Allowed);

    [Fact]
    public void A_program_outside_the_mesh_may_not_use_the_cart() =>
        Assert.IsType<L4Decision.Denied>(Decide(source: null, "cart", 8080));

    [Fact]
    public void A_denial_names_the_policy_that_denied()
    {
        var denied = Assert.IsType<L4Decision.Denied>(Decide("cart", "web", 8080));
        Assert.Equal("shop/no-calls-back", denied.Policy);
    }

    [Fact]
    public void A_denial_says_what_would_have_had_to_match()
    {
        var denied = Assert.IsType<L4Decision.Denied>(Decide("client", "cart", 8080));
        Assert.Equal(
            "shop/cart-from-web, rule 1: clause 1 needs principals cluster.local/ns/shop/sa/web; the connection has cluster.local/ns/shop/sa/client",
            Assert.Single(denied.Remedies));
    }

    private static L4Decision Decide(string? source, string destination, int port)
    {
        var workload = Mesh.Workloads.Single(workload => workload.ServiceAccount == destination);
        var identity = source is null ? null : SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", source);
        return L4Authorizer.Authorize(Mesh.Policies, workload, new L4Connection(IPAddress.Loopback, identity, new IPEndPoint(workload.Addresses[0], port)));
    }
}
