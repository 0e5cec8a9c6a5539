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

    // Mirrors ztunnel §15.4: what a waypoint is referred to by, and whether it has an application tunnel.
    [Theory]
    [InlineData("pod address", false, "10.0.0.3:8080", "10.0.0.2:8080", null)]
    [InlineData("pod address", false, "10.96.0.3:80", "10.0.0.2:80", null)]
    [InlineData("pod address, for the workload alone", false, "10.0.0.3:8080", "10.0.0.2:8080", null)]
    [InlineData("pod address, for the workload alone", false, "10.96.0.3:80", null, null)]
    [InlineData("pod address, for the service alone", false, "10.96.0.3:80", "10.0.0.2:80", null)]
    [InlineData("pod address, for the service alone", false, "10.0.0.3:8080", null, null)]
    [InlineData("service address", false, "10.0.0.3:8080", "10.0.0.2:8080", null)]
    [InlineData("service name", false, "10.0.0.3:8080", "10.0.0.2:8080", null)]
    [InlineData("weighted", false, "10.96.0.3:80", "10.0.0.2:80", null)]
    [InlineData("nothing", false, "10.0.0.3:8080", null, null)]
    [InlineData("elsewhere", false, "10.0.0.3:8080", null, null)]
    [InlineData("pod address", true, "10.0.0.3:8080", "10.0.0.2:15088", "10.0.0.3:8080")]
    [InlineData("service address", true, "10.96.0.3:80", "10.0.0.2:15088", "10.96.0.3:80")]
    [InlineData("nothing", true, "192.0.2.1:443", "10.0.0.2:15088", "192.0.2.1:443")]
    [InlineData("nothing", true, "behind.shop.svc.cluster.local:80", "10.0.0.2:15088", "10.96.0.3:80")]
    public void A_waypoint_takes_what_is_for_those_who_refer_to_it(string reference, bool hasTunnel, string authority, string? destination, string? proxyTarget)
    {
        var waypoints = Service("waypoints", "10.96.0.9") with { Ports = Ports((15008, 15008)) };
        var local = Workload("cart", "10.0.0.2", waypoints.Key) with { ApplicationTunnel = hasTunnel ? new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088) : null };
        var gateway = reference.Split(',')[0] switch
        {
            "pod address" => GatewayAt("10.0.0.2"),
            "service address" => GatewayAt("10.96.0.9"),
            "service name" => new GatewayAddress(waypoints.Key, 15008),
            "elsewhere" => GatewayAt("10.0.0.77"),
            _ => null,
        };
        var service = Service("behind", "10.96.0.3") with
        {
            Waypoint = reference.EndsWith("workload alone", StringComparison.Ordinal) ? null : gateway,
            WeightedWaypoints = reference == "weighted" ? [new WeightedWaypoint(GatewayAt("10.0.0.77"), 1), new WeightedWaypoint(GatewayAt("10.0.0.2"), 1)] : [],
        };
        var workload = Workload("behind", "10.0.0.3") with { Waypoint = reference.EndsWith("service alone", StringComparison.Ordinal) ? null : gateway };
        var plan = Plan(authority, local, waypoints, service, workload);
        if (destination is null)
        {
            Assert.Equal(400, Assert.IsType<InboundPlan.Refuse>(plan).Status);
            return;
        }

        var connect = Assert.IsType<InboundPlan.Connect>(plan);
        Assert.Equal(IPEndPoint.Parse(destination), connect.Destination);
        Assert.Equal(proxyTarget is null ? null : IPEndPoint.Parse(proxyTarget), connect.ProxyTarget);
    }

    // Every reason there is to refuse, as the log tells it (ztunnel §8.2).
    [Theory]
    [InlineData("nonsense", 400, "the authority 'nonsense' is not of the form address:port or host:port")]
    [InlineData("10.0.0.3:8080", 400, "ip mismatch: the request is for 10.0.0.3, this is 10.0.0.2")]
    [InlineData("192.0.2.1:8080", 400, "ip mismatch: the request is for 192.0.2.1, this is 10.0.0.2")]
    [InlineData("10.96.0.2:80", 400, "ip mismatch: the request is for 10.96.0.2, this is 10.0.0.2")]
    [InlineData("unknown.shop.svc.cluster.local:80", 503, "no service has the host name 'unknown.shop.svc.cluster.local'")]
    [InlineData(CartHost + ":81", 503, "service shop/" + CartHost + " has no port 81 that this workload knows")]
    [InlineData("10.0.0.2:15008", 503, "port 15008 is one of the proxy's own")]
    [InlineData("10.0.0.2:15006", 503, "port 15006 is one of the proxy's own")]
    [InlineData("10.0.0.2:15001", 503, "port 15001 is one of the proxy's own")]
    public void A_refusal_says_why(string authority, int status, string reason) =>
        Assert.Equal(new InboundPlan.Refuse(status, reason), Plan(authority, Cart, CartService, Workload("other", "10.0.0.3")));

    [Fact]
    public void Who_went_by_the_waypoint_is_told_so()
    {
        var strict = new InboundPlanner(port => port is 15008, requireWaypoint: true);
        var cart = Cart with { Waypoint = GatewayAt("10.0.0.9") };
        Assert.Equal(
            new InboundPlan.Refuse(401, "the connection did not come through the waypoint /10.0.0.9, as is required here, but from a client without identity"),
            strict.Plan(Of(cart, Waypoint), cart, IPEndPoint.Parse("10.0.0.2:8080")));
    }

    [Fact]
    public void An_application_tunnel_without_a_header_only_moves_the_port()
    {
        var plan = Assert.IsType<InboundPlan.Connect>(Plan("10.0.0.2:8080", Cart with { ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.None, 9090) }));
        Assert.Equal(IPEndPoint.Parse("10.0.0.2:9090"), plan.Destination);
        Assert.Null(plan.ProxyTarget);
    }

    [Fact]
    public void An_application_tunnel_cannot_name_a_service_without_address()
    {
        var plan = Assert.IsType<InboundPlan.Refuse>(Plan(
            $"{CartHost}:80", Cart with { ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088) }, CartService with { Vips = [] }));
        Assert.Equal(503, plan.Status);
    }

    [Theory]
    [InlineData("waypoint", true)]
    [InlineData("web", false)]
    [InlineData(null, false)]
    public void Where_the_waypoint_is_required_only_its_traffic_is_taken(string? client, bool isTaken)
    {
        var strict = new InboundPlanner(port => port is 15008, requireWaypoint: true);
        var cart = Cart with { Waypoint = GatewayAt("10.0.0.9") };
        var peer = client is null ? null : Mesh.Core.Identity.SpiffeId.Parse($"spiffe://cluster.local/ns/shop/sa/{client}");
        var plan = strict.Plan(Of(cart, Waypoint, CartService), cart, CartAddress, "10.0.0.2:8080", null, peer);
        Assert.Equal(isTaken, plan is InboundPlan.Connect);
        Assert.Equal(isTaken, plan is not InboundPlan.Refuse { Status: 401 });
    }

    [Theory]
    [InlineData("old.example/ns/shop/sa/waypoint", true)]
    [InlineData("old.example/ns/shop/sa/web", false)]
    [InlineData("stranger.example/ns/shop/sa/waypoint", false)]
    public void A_required_waypoint_may_come_under_an_alias(string client, bool isTaken)
    {
        var strict = new InboundPlanner(
            port => port is 15008, requireWaypoint: true, Mesh.Core.Identity.TrustDomainAliases.Create(Mesh.Core.Identity.TrustDomain.Parse("old.example")));
        var cart = Cart with { Waypoint = GatewayAt("10.0.0.9") };
        var peer = Mesh.Core.Identity.SpiffeId.Parse($"spiffe://{client}");
        Assert.Equal(isTaken, strict.Plan(Of(cart, Waypoint, CartService), cart, CartAddress, "10.0.0.2:8080", null, peer) is InboundPlan.Connect);
    }

    [Fact]
    public void What_a_client_says_it_addressed_does_not_get_it_by_a_required_waypoint()
    {
        var strict = new InboundPlanner(port => port is 15008, requireWaypoint: true);
        var free = Service("free", "10.96.0.5");
        var cart = Workload("cart", "10.0.0.2", CartKey, free.Key);
        var mesh = Of(cart, Waypoint, free, CartService with { Waypoint = GatewayAt("10.0.0.9") });
        var peer = Mesh.Core.Identity.SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
        Assert.IsType<InboundPlan.Refuse>(strict.Plan(mesh, cart, CartAddress, "10.0.0.2:8080", free.Hostname, peer));
        Assert.IsType<InboundPlan.Refuse>(strict.Plan(mesh, cart, CartAddress, $"{free.Hostname}:80", null, peer));
    }

    [Fact]
    public void A_waypoint_that_is_required_does_not_require_itself()
    {
        var strict = new InboundPlanner(port => port is 15008, requireWaypoint: true);
        var behind = Service("behind", "10.96.0.3") with { Waypoint = GatewayAt("10.0.0.2") };
        var peer = Mesh.Core.Identity.SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
        Assert.IsType<InboundPlan.Connect>(strict.Plan(Of(Cart, behind), Cart, CartAddress, "10.96.0.3:80", null, peer));
    }

    [Fact]
    public void Plain_text_is_not_taken_where_the_waypoint_is_required()
    {
        var strict = new InboundPlanner(port => port is 15008, requireWaypoint: true);
        var service = CartService with { Waypoint = GatewayAt("10.0.0.9") };
        Assert.IsType<InboundPlan.Refuse>(strict.Plan(Of(Cart, Waypoint, service), Cart, IPEndPoint.Parse("10.0.0.2:8080")));
        Assert.IsType<InboundPlan.Connect>(Planner.Plan(Of(Cart, Waypoint, service), Cart, IPEndPoint.Parse("10.0.0.2:8080")));
    }

    [Fact]
    public void Plain_text_to_a_port_of_the_proxy_is_refused() =>
        Assert.IsType<InboundPlan.Refuse>(Planner.Plan(Of(Cart), Cart, IPEndPoint.Parse("10.0.0.2:15006")));

    [Fact]
    public void The_service_is_that_which_the_client_says_else_the_one_with_the_port()
    {
        var other = Service("other", "10.96.0.3");
        var cart = Workload("cart", "10.0.0.2", CartKey, other.Key);
        var mesh = Of(cart, CartService, other);
        var said = Assert.IsType<InboundPlan.Connect>(Planner.Plan(mesh, cart, CartAddress, "10.0.0.2:8080", "other.shop.svc.cluster.local", peer: null));
        Assert.Equal(other, said.Service);
        var guessed = Assert.IsType<InboundPlan.Connect>(Planner.Plan(Of(Cart, CartService), Cart, CartAddress, "10.0.0.2:8080", "elsewhere.example", peer: null));
        Assert.Equal(CartService, guessed.Service);
        Assert.Null(Assert.IsType<InboundPlan.Connect>(Planner.Plan(Of(Cart, CartService), Cart, CartAddress, "10.0.0.2:1234", null, peer: null)).Service);
    }

    private static InboundPlan Plan(string authority, Workload local, params object[] others) =>
        Planner.Plan(Of([local, .. others]), local, CartAddress, authority, forwardedHost: null, peer: null);
}
