using System.Net;
using Mesh.Core.Identity;
using static Mesh.Testing.TestMesh;

namespace Mesh.Core.Workloads;

/// <summary>Every decision of ztunnel §7 that is made here, with its explanation.</summary>
public sealed class OutboundPlannerTests
{
    private static readonly OutboundPlanner Planner = new(15008, port => port is 15001 or 15006 or 15008 or 15080);

    [Fact]
    public void An_unknown_address_is_passed_through()
    {
        var plan = Assert.IsType<OutboundPlan.Passthrough>(Plan("192.0.2.1:443", Web));
        Assert.Equal(IPEndPoint.Parse("192.0.2.1:443"), plan.Destination);
        Assert.Equal("neither a service nor a workload of the mesh has the address /192.0.2.1", plan.Why);
    }

    [Fact]
    public void A_workload_that_takes_hbone_gets_it_at_its_address()
    {
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.0.0.2:8080", Web, Cart));
        Assert.Equal(IPEndPoint.Parse("10.0.0.2:15008"), plan.NextHop);
        Assert.Equal("10.0.0.2:8080", plan.Authority);
        Assert.Equal(SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart"), Assert.Single(plan.Peers));
        Assert.Null(plan.Service);
        Assert.Equal("c1//Pod/shop/cart, the workload that was addressed, takes HBONE", plan.Why);
    }

    [Fact]
    public void A_workload_that_does_not_take_hbone_gets_plain_tcp()
    {
        var plan = Assert.IsType<OutboundPlan.Tcp>(Plan("10.0.0.2:8080", Web, Cart with { Protocol = TunnelProtocol.None }));
        Assert.Equal(IPEndPoint.Parse("10.0.0.2:8080"), plan.Destination);
    }

    [Fact]
    public void A_service_leads_to_an_endpoint_with_the_target_port()
    {
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart, CartService));
        Assert.Equal("10.0.0.2:8080", plan.Authority);
        Assert.Equal(CartService, plan.Service);
        Assert.Equal($"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE", plan.Why);
    }

    [Fact]
    public void An_ipv6_endpoint_is_named_in_brackets()
    {
        var cart = Cart with { Addresses = [IPAddress.Parse("fd00::2")] };
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, cart, CartService));
        Assert.Equal("[fd00::2]:8080", plan.Authority);
        Assert.Equal(IPEndPoint.Parse("[fd00::2]:15008"), plan.NextHop);
    }

    [Fact]
    public void Further_names_of_a_service_are_accepted_before_the_workloads_own()
    {
        var service = CartService with { SubjectAltNames = ["spiffe://cluster.local/ns/shop/sa/other", "not a spiffe id"] };
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart, service));
        Assert.Equal(["spiffe://cluster.local/ns/shop/sa/other", "spiffe://cluster.local/ns/shop/sa/cart"], plan.Peers.Select(peer => peer.ToString()));
    }

    [Fact]
    public void A_service_without_that_port_is_refused_and_not_passed_through()
    {
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:81", Web, Cart, CartService));
        Assert.Equal($"no healthy upstream: service shop/{CartHost} has no port 81; it has 80", plan.Why);
    }

    [Fact]
    public void A_service_without_endpoints_is_refused_and_not_passed_through()
    {
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, CartService));
        Assert.Equal($"no healthy upstream: none of the 0 endpoints of service shop/{CartHost} can take port 80", plan.Why);
    }

    [Fact]
    public void A_service_with_unhealthy_endpoints_only_is_refused() =>
        Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, Cart with { Status = WorkloadStatus.Unhealthy }, CartService));

    [Fact]
    public void A_passthrough_service_is_passed_through_though_it_has_endpoints()
    {
        var service = CartService with { LoadBalancing = new LoadBalancing(LoadBalancingMode.Passthrough, [], HealthPolicy.OnlyHealthy) };
        var plan = Assert.IsType<OutboundPlan.Passthrough>(Plan("10.96.0.2:80", Web, Cart, service));
        Assert.Equal(IPEndPoint.Parse("10.96.0.2:80"), plan.Destination);
    }

    [Fact]
    public void A_service_of_another_namespace_that_is_not_public_does_not_exist()
    {
        var service = CartService with { Namespace = "other", Visibility = ServiceVisibility.Namespace };
        Assert.IsType<OutboundPlan.Passthrough>(Plan("10.96.0.2:80", Web, service));
    }

    [Fact]
    public void The_waypoint_of_a_service_gets_the_address_as_it_was_dialled()
    {
        var service = CartService with { Waypoint = GatewayAt("10.0.0.9") };
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart, Waypoint, service));
        Assert.Equal(IPEndPoint.Parse("10.0.0.9:15008"), plan.NextHop);
        Assert.Equal("10.96.0.2:80", plan.Authority);
        Assert.Equal(Waypoint.Identity, Assert.Single(plan.Peers));
        Assert.Equal($"c1//Pod/shop/waypoint is the waypoint of service shop/{CartHost}", plan.Why);
    }

    [Fact]
    public void A_waypoint_is_found_by_the_host_name_of_its_service()
    {
        var gateway = Service("gateway", "10.96.0.9") with { Ports = Ports((15008, 15008)) };
        var waypoint = Workload("waypoint", "10.0.0.9", gateway.Key);
        var service = CartService with { Waypoint = new GatewayAddress(gateway.Key, 15008) };
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart, waypoint, gateway, service));
        Assert.Equal(IPEndPoint.Parse("10.0.0.9:15008"), plan.NextHop);
    }

    [Fact]
    public void A_waypoint_that_cannot_be_found_is_not_gone_round()
    {
        var service = CartService with { Waypoint = GatewayAt("10.0.0.77") };
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, Cart, service));
        Assert.Equal($"the waypoint of service shop/{CartHost}, /10.0.0.77, cannot be reached: unknown, or without a healthy endpoint", plan.Why);
    }

    [Fact]
    public void The_waypoint_of_a_workload_gets_what_is_addressed_to_the_workload()
    {
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.0.0.2:8080", Web, Cart with { Waypoint = GatewayAt("10.0.0.9") }, Waypoint));
        Assert.Equal(IPEndPoint.Parse("10.0.0.9:15008"), plan.NextHop);
        Assert.Equal("10.0.0.2:8080", plan.Authority);
    }

    [Fact]
    public void The_waypoint_of_a_workload_is_not_for_what_is_addressed_to_its_service()
    {
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart with { Waypoint = GatewayAt("10.0.0.9") }, Waypoint, CartService));
        Assert.Equal(IPEndPoint.Parse("10.0.0.2:15008"), plan.NextHop);
    }

    [Fact]
    public void A_waypoint_itself_goes_directly_to_the_workload_behind_it()
    {
        var mesh = Of(Cart with { Waypoint = GatewayAt("10.0.0.9") }, Waypoint);
        var plan = Assert.IsType<OutboundPlan.Hbone>(Planner.Plan(mesh, Waypoint, IPAddress.Parse("10.0.0.9"), IPEndPoint.Parse("10.0.0.2:8080"), new Random(1)));
        Assert.Equal(IPEndPoint.Parse("10.0.0.2:15008"), plan.NextHop);
    }

    [Fact]
    public void The_waypoint_of_the_source_does_not_matter()
    {
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.0.0.2:8080", Web with { Waypoint = GatewayAt("10.0.0.9") }, Cart, Waypoint));
        Assert.Equal(IPEndPoint.Parse("10.0.0.2:15008"), plan.NextHop);
    }

    [Fact]
    public void Weighted_waypoints_are_chosen_by_weight_and_never_by_none()
    {
        var second = Workload("second", "10.0.0.10");
        var service = CartService with
        {
            Waypoint = GatewayAt("10.0.0.77"),
            WeightedWaypoints = [new WeightedWaypoint(GatewayAt("10.0.0.77"), 0), new WeightedWaypoint(GatewayAt("10.0.0.9"), 3), new WeightedWaypoint(GatewayAt("10.0.0.10"), 1)],
        };
        var mesh = Of(Web, Cart, Waypoint, second, service);
        var random = new Random(1);
        var hops = Enumerable.Range(0, 400).Select(_ => ((OutboundPlan.Hbone)Plan("10.96.0.2:80", mesh, random)).NextHop.Address.ToString()).CountBy(hop => hop).ToDictionary();
        Assert.Equal(2, hops.Count);
        Assert.InRange(hops["10.0.0.9"], 260, 340);
    }

    [Fact]
    public void Weighted_waypoints_without_any_weight_leave_the_single_one()
    {
        var service = CartService with { Waypoint = GatewayAt("10.0.0.9"), WeightedWaypoints = [new WeightedWaypoint(GatewayAt("10.0.0.77"), 0)] };
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart, Waypoint, service));
        Assert.Equal(IPEndPoint.Parse("10.0.0.9:15008"), plan.NextHop);
    }

    [Fact]
    public void An_endpoint_on_another_network_without_a_gateway_is_refused_with_the_reason()
    {
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, Cart with { Network = "far" }, CartService));
        Assert.Equal($"endpoint c1//Pod/shop/cart of service shop/{CartHost} is on network 'far', and has no gateway to it", plan.Why);
    }

    [Fact]
    public void An_endpoint_on_another_network_is_reached_by_a_tunnel_within_a_tunnel()
    {
        var plan = Assert.IsType<OutboundPlan.DoubleHbone>(Plan("10.96.0.2:80", Web, Far, Gateway, NamedService));
        Assert.Equal(IPEndPoint.Parse("10.0.0.8:15008"), plan.NextHop);
        Assert.Equal(Gateway.Identity, Assert.Single(plan.GatewayPeers));
        Assert.Equal($"{CartHost}:80", plan.Authority);
        Assert.Equal(["spiffe://cluster.local/ns/shop/sa/cart"], plan.Peers.Select(peer => peer.ToString()));
        Assert.Equal(7, plan.Capacity);
        Assert.Equal($"endpoint c1//Pod/shop/cart of service shop/{CartHost} is on network 'far', reached through gateway c1//Pod/shop/gateway", plan.Why);
    }

    [Fact]
    public void A_gateway_is_found_by_the_host_name_of_its_service_whose_port_leads_to_its_own()
    {
        var gateways = Service("gateways", "10.96.0.8") with { Ports = Ports((15009, 15008)), SubjectAltNames = ["spiffe://cluster.local/ns/shop/sa/gateways"] };
        var gateway = Workload("gateway", "10.0.0.8", gateways.Key);
        var far = Far with { NetworkGateway = new GatewayAddress(gateways.Key, 15009) };
        var plan = Assert.IsType<OutboundPlan.DoubleHbone>(Plan("10.96.0.2:80", Web, far, gateway, gateways, NamedService));
        Assert.Equal(IPEndPoint.Parse("10.0.0.8:15008"), plan.NextHop);
        Assert.Equal(["spiffe://cluster.local/ns/shop/sa/gateways", "spiffe://cluster.local/ns/shop/sa/gateway"], plan.GatewayPeers.Select(peer => peer.ToString()));
    }

    [Fact]
    public void A_gateway_that_cannot_be_found_is_an_error()
    {
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, Far, NamedService));
        Assert.EndsWith("its gateway, /10.0.0.8, cannot be reached: unknown, or without a healthy endpoint", plan.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void A_service_that_names_no_identities_is_not_reached_on_another_network()
    {
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, Far, Gateway, CartService));
        Assert.EndsWith($"service shop/{CartHost} does not name the identities that it may have there (subjectAltNames)", plan.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void A_waypoint_on_another_network_is_reached_through_its_gateway_for_the_service_that_was_addressed()
    {
        var waypoints = Service("waypoints", "10.96.0.9") with { Ports = Ports((15008, 15008)), SubjectAltNames = ["spiffe://cluster.local/ns/shop/sa/waypoint"] };
        var waypoint = Workload("waypoint", "10.0.0.9", waypoints.Key) with { Addresses = [], Network = "far", NetworkGateway = GatewayAt("10.0.0.8") };
        var service = CartService with { Waypoint = new GatewayAddress(waypoints.Key, 15008) };
        var plan = Assert.IsType<OutboundPlan.DoubleHbone>(Plan("10.96.0.2:80", Web, Cart, waypoint, Gateway, waypoints, service));
        Assert.Equal($"{CartHost}:80", plan.Authority);
        Assert.Equal(["spiffe://cluster.local/ns/shop/sa/waypoint"], plan.Peers.Select(peer => peer.ToString()));
    }

    [Fact]
    public void A_healthy_endpoint_far_away_goes_before_an_unhealthy_one_here()
    {
        var here = Workload("here", "10.0.0.3", CartKey) with { Status = WorkloadStatus.Unhealthy };
        var service = NamedService with { LoadBalancing = new LoadBalancing(LoadBalancingMode.Failover, [RoutingScope.Network], HealthPolicy.OnlyHealthy) };
        Assert.IsType<OutboundPlan.DoubleHbone>(Plan("10.96.0.2:80", Web, Far, here, Gateway, service));
        Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Far, here with { Status = WorkloadStatus.Healthy }, Gateway, service));
    }

    [Fact]
    public void An_endpoint_with_nothing_but_a_host_name_has_it_resolved_first()
    {
        var cart = Cart with { Addresses = [], Hostname = "cart.example" };
        var plan = Assert.IsType<OutboundPlan.Unresolved>(Plan("10.96.0.2:80", Web, cart, CartService));
        Assert.Equal("cart.example", plan.Hostname);
        var then = Assert.IsType<OutboundPlan.Hbone>(plan.With(IPAddress.Parse("203.0.113.5")));
        Assert.Equal(IPEndPoint.Parse("203.0.113.5:15008"), then.NextHop);
        Assert.Equal("203.0.113.5:8080", then.Authority);
    }

    [Fact]
    public void A_waypoint_need_not_declare_its_port_when_it_has_an_application_tunnel()
    {
        var gateway = Service("gateway", "10.96.0.9") with { Ports = Ports() };
        var waypoint = Workload("waypoint", "10.0.0.9", gateway.Key) with { ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088) };
        var service = CartService with { Waypoint = new GatewayAddress(gateway.Key, 15008) };
        var plan = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, Cart, waypoint, gateway, service));
        Assert.Equal(IPEndPoint.Parse("10.0.0.9:15008"), plan.NextHop);
    }

    [Fact]
    public void A_plan_tells_what_became_of_each_endpoint()
    {
        var mesh = Of(
            Web,
            Workload("good", "10.0.0.2", CartKey),
            Workload("ill", "10.0.0.3", CartKey) with { Status = WorkloadStatus.Unhealthy },
            Workload("tried", "10.0.0.4", CartKey),
            Workload("far", "10.0.0.5", CartKey) with { Network = "far", Addresses = [] },
            CartService);
        var plan = Planner.Plan(
            mesh, Web, IPAddress.Parse("10.0.0.1"), IPEndPoint.Parse("10.96.0.2:80"), new Random(1), (_, workload) => workload.Name == "tried" ? "it was tried already" : null);
        Assert.Equal(
            $"""
            c1//Pod/shop/good, an endpoint of service shop/{CartHost}, takes HBONE
              c1//Pod/shop/good: may be chosen
              c1//Pod/shop/far: it has neither an address nor a host name, nor a gateway to another network
              c1//Pod/shop/ill: it is unhealthy
              c1//Pod/shop/tried: it was tried already
            """,
            plan.Explain());
    }

    [Fact]
    public void Endpoints_of_lower_rank_take_over_when_the_nearest_are_excluded()
    {
        var near = Workload("near", "10.0.0.3", CartKey) with { Node = "n1" };
        var service = CartService with { LoadBalancing = new LoadBalancing(LoadBalancingMode.Failover, [RoutingScope.Node], HealthPolicy.OnlyHealthy) };
        var mesh = Of(Web with { Node = "n1" }, Cart, near, service);
        var source = mesh.FindWorkload(Web.Uid)!;
        OutboundPlan.Hbone PlanWithout(string? name) => (OutboundPlan.Hbone)Planner.Plan(
            mesh, source, IPAddress.Parse("10.0.0.1"), IPEndPoint.Parse("10.96.0.2:80"), new Random(1), name is null ? null : (_, workload) => workload.Name == name ? "excluded" : null);
        Assert.Equal("near", PlanWithout(null).Workload.Name);
        Assert.Equal("cart", PlanWithout("near").Workload.Name);
    }

    [Fact]
    public void Those_that_are_left_share_what_an_excluded_one_would_have_got_by_their_capacity()
    {
        var mesh = Of(
            Web, CartService, Workload("one", "10.0.0.2", CartKey), Workload("three", "10.0.0.3", CartKey) with { Capacity = 3 }, Workload("left-out", "10.0.0.4", CartKey) with { Capacity = 4 });
        var random = new Random(1);
        var chosen = Enumerable.Range(0, 4000).Select(_ => (OutboundPlan.Hbone)Planner.Plan(
            mesh, Web, IPAddress.Parse("10.0.0.1"), IPEndPoint.Parse("10.96.0.2:80"), random, (_, workload) => workload.Name == "left-out" ? "excluded" : null))
            .CountBy(plan => plan.Workload.Name).ToDictionary();
        Assert.Equal(2, chosen.Count);
        Assert.InRange(chosen["one"], 850, 1150);
    }

    [Fact]
    public void An_endpoint_that_turns_healthy_or_a_policy_that_allows_all_counts_at_once()
    {
        var state = new MeshState();
        state.Replace([Web, Cart with { Status = WorkloadStatus.Unhealthy }], [CartService], []);
        Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", state.Current, new Random(1)));
        state.Update(mesh => mesh.Upsert(CartService with { LoadBalancing = LoadBalancing.Default with { HealthPolicy = HealthPolicy.AllowAll } }));
        Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", state.Current, new Random(1)));
    }

    [Fact]
    public void A_workload_on_the_hosts_network_is_reached_through_its_service_but_not_by_address()
    {
        var cart = Cart with { NetworkMode = NetworkMode.HostNetwork };
        Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, cart, CartService));
        Assert.IsType<OutboundPlan.Passthrough>(Plan("10.0.0.2:8080", Web, cart, CartService));
    }

    [Theory]
    [InlineData("127.0.0.1:15001")]
    [InlineData("127.0.0.1:15006")]
    [InlineData("127.0.0.1:15008")]
    [InlineData("127.0.0.1:15080")]
    [InlineData("[::1]:15008")]
    [InlineData("10.0.0.1:15001")]
    [InlineData("[::ffff:127.0.0.1]:15001")]
    public void A_call_to_a_port_of_the_proxy_itself_is_refused(string destination)
    {
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan(destination, Web));
        Assert.StartsWith("attempted recursive call to ourselves", plan.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void An_address_that_is_a_services_and_a_workloads_goes_to_the_endpoint_by_the_endpoints_own_waypoint()
    {
        var both = Workload("both", "10.96.0.2");
        var direct = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, both, Cart, Waypoint, CartService with { Waypoint = GatewayAt("10.0.0.9") }));
        Assert.Equal("10.0.0.2:8080", direct.Authority);
        var guarded = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:80", Web, both, Cart with { Waypoint = GatewayAt("10.0.0.9") }, Waypoint, CartService));
        Assert.Equal(IPEndPoint.Parse("10.0.0.9:15008"), guarded.NextHop);
        var own = Assert.IsType<OutboundPlan.Hbone>(Plan("10.96.0.2:81", Web, both, Cart, CartService));
        Assert.Equal("10.96.0.2:81", own.Authority);
    }

    private static readonly Workload Gateway = Workload("gateway", "10.0.0.8");
    private static readonly Workload Far = Cart with { Addresses = [], Network = "far", NetworkGateway = GatewayAt("10.0.0.8"), Capacity = 7 };
    private static readonly Service NamedService = CartService with { SubjectAltNames = ["spiffe://cluster.local/ns/shop/sa/cart"] };

    private static OutboundPlan Plan(string destination, params object[] members) => Plan(destination, Of(members), new Random(1));

    private static OutboundPlan Plan(string destination, MeshSnapshot mesh, Random random) =>
        Planner.Plan(mesh, mesh.Workloads.SingleOrDefault(workload => workload.Name == "web") ?? Web, IPAddress.Parse("10.0.0.1"), IPEndPoint.Parse(destination), random);
}
