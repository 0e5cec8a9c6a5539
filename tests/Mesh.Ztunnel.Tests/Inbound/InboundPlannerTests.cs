using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Workloads;
using static Mesh.Testing.TestMesh;

namespace Mesh.Ztunnel.Inbound;

/// <summary>Validation of what a request names, and the application behind it (ztunnel §8.2).</summary>
public sealed class InboundPlannerTests
{
    private static readonly InboundPlanner Planner = new(port => port is 15001 or 15006 or 15008);
    private static readonly IPAddress CartAddress = IPAddress.Parse("10.0.0.2");

    [Theory]
    [InlineData("10.0.0.2:8080", 8080)]
    [InlineData("[::ffff:10.0.0.2]:8080", 8080)]
    [InlineData("10.0.0.2:1", 1)]
    [InlineData("10.0.0.2:65535", 65535)]
    [InlineData("cart.shop.svc.cluster.local:80", 8080)]
    [InlineData("CART.shop.svc.cluster.local:80", 8080)]
    public void A_target_of_ours_leads_to_the_application(string authority, int port)
    {
        var plan = Assert.IsType<InboundPlan.Connect>(Plan(authority, Cart, CartService));
        Assert.Equal(new IPEndPoint(CartAddress, port), plan.Destination);
    }

    [Theory]
    [InlineData("")]
    [InlineData("10.0.0.2")]
    [InlineData("10.0.0.2:")]
    [InlineData("10.0.0.2:0")]
    [InlineData("10.0.0.2:65536")]
    [InlineData("10.0.0.2:-1")]
    [InlineData("10.0.0.2:+80")]
    [InlineData("10.0.0.2: 80")]
    [InlineData(":80")]
    [InlineData("fd00::2:80")]
    [InlineData("[10.0.0.2]:80")]
    [InlineData("http://10.0.0.2:80")]
    [InlineData("user@host:80")]
    [InlineData("host name:80")]
    [InlineData("host\nname:80")]
    public void What_is_no_target_is_refused_with_400(string authority)
    {
        var plan = Assert.IsType<InboundPlan.Refuse>(Plan(authority, Cart, CartService));
        Assert.Equal(400, plan.Status);
        Assert.EndsWith("is not of the form address:port or host:port", plan.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void An_address_that_is_not_ours_is_refused_with_400()
    {
        var plan = Assert.IsType<InboundPlan.Refuse>(Plan("10.0.0.3:8080", Cart, Workload("other", "10.0.0.3")));
        Assert.Equal(new InboundPlan.Refuse(400, "ip mismatch: the request is for 10.0.0.3, this is 10.0.0.2"), plan);
    }

    [Fact]
    public void A_waypoint_takes_what_is_addressed_to_a_workload_behind_it() =>
        Assert.IsType<InboundPlan.Connect>(Plan("10.0.0.3:8080", Cart, Workload("behind", "10.0.0.3") with { Waypoint = GatewayAt("10.0.0.2") }));

    [Fact]
    public void A_waypoint_takes_what_is_addressed_to_a_service_behind_it()
    {
        var behind = Service("behind", "10.96.0.3") with { Waypoint = new GatewayAddress(CartKey, 15008) };
        var plan = Assert.IsType<InboundPlan.Connect>(Plan("10.96.0.3:80", Cart, CartService, behind));
        Assert.Equal(new IPEndPoint(CartAddress, 80), plan.Destination);
    }

    [Fact]
    public void A_waypoint_of_somebody_else_is_not_ours() =>
        Assert.IsType<InboundPlan.Refuse>(Plan("10.0.0.3:8080", Cart, Waypoint, Workload("behind", "10.0.0.3") with { Waypoint = GatewayAt("10.0.0.9") }));

    [Theory]
    [InlineData(15001)]
    [InlineData(15006)]
    [InlineData(15008)]
    public void A_port_of_the_proxy_itself_is_refused_with_503(int port) =>
        Assert.Equal(new InboundPlan.Refuse(503, $"port {port} is one of the proxy's own"), Plan($"10.0.0.2:{port}", Cart));

    [Fact]
    public void A_host_name_that_nobody_has_is_refused_with_503() =>
        Assert.Equal(new InboundPlan.Refuse(503, "no service has the host name 'nobody.example'"), Plan("nobody.example:80", Cart));

    [Fact]
    public void A_named_port_is_the_endpoints_own()
    {
        var cart = Cart with { Services = ImmutableDictionary<NamespacedHostname, System.Collections.Frozen.FrozenDictionary<int, int>>.Empty.Add(CartKey, Ports((80, 9090))) };
        var plan = Assert.IsType<InboundPlan.Connect>(Plan($"{CartHost}:80", cart, CartService with { Ports = Ports((80, 0)) }));
        Assert.Equal(9090, plan.Destination.Port);
    }

    [Fact]
    public void A_named_port_that_the_endpoint_does_not_know_is_refused_with_503() =>
        Assert.Equal(503, Assert.IsType<InboundPlan.Refuse>(Plan($"{CartHost}:80", Cart, CartService with { Ports = Ports((80, 0)) })).Status);

    [Fact]
    public void A_workload_with_an_application_tunnel_is_refused_with_503() =>
        Assert.Equal(503, Assert.IsType<InboundPlan.Refuse>(Plan("10.0.0.2:8080", Cart with { ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088) })).Status);

    [Fact]
    public void The_service_is_that_which_the_client_says_else_the_one_with_the_port()
    {
        var other = Service("other", "10.96.0.3");
        var cart = Workload("cart", "10.0.0.2", CartKey, other.Key);
        var mesh = Of(cart, CartService, other);
        var said = Assert.IsType<InboundPlan.Connect>(Planner.Plan(mesh, cart, CartAddress, "10.0.0.2:8080", "other.shop.svc.cluster.local"));
        Assert.Equal(other, said.Service);
        var guessed = Assert.IsType<InboundPlan.Connect>(Planner.Plan(Of(Cart, CartService), Cart, CartAddress, "10.0.0.2:8080", "elsewhere.example"));
        Assert.Equal(CartService, guessed.Service);
        Assert.Null(Assert.IsType<InboundPlan.Connect>(Planner.Plan(Of(Cart, CartService), Cart, CartAddress, "10.0.0.2:1234", null)).Service);
    }

    private static InboundPlan Plan(string authority, Workload local, params object[] others) =>
        Planner.Plan(Of([local, .. others]), local, CartAddress, authority, forwardedHost: null);
}
