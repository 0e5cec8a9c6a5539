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
    public void An_endpoint_on_another_network_is_refused_with_the_reason()
    {
        var far = Cart with { Network = "far", NetworkGateway = GatewayAt("10.0.0.9") };
        var plan = Assert.IsType<OutboundPlan.Refused>(Plan("10.96.0.2:80", Web, far, CartService));
        Assert.Equal("endpoint c1//Pod/shop/cart is on network 'far'; other networks cannot be reached", plan.Why);
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

    private static OutboundPlan Plan(string destination, params object[] members) => Plan(destination, Of(members), new Random(1));

    private static OutboundPlan Plan(string destination, MeshSnapshot mesh, Random random) =>
        Planner.Plan(mesh, mesh.Workloads.SingleOrDefault(workload => workload.Name == "web") ?? Web, IPAddress.Parse("10.0.0.1"), IPEndPoint.Parse(destination), random);
}
