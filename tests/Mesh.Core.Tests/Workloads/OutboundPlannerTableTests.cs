using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using static Mesh.Testing.TestMesh;

namespace Mesh.Core.Workloads;

/// <summary>The cases of ztunnel §15.3, each with what is done and with the whole reason.</summary>
public sealed class OutboundPlannerTableTests
{
    private const string CartId = "spiffe://cluster.local/ns/shop/sa/cart";
    private static readonly OutboundPlanner Planner = new(15008, port => port is 15001 or 15006 or 15008);
    private static readonly Service Named = CartService with { SubjectAltNames = [CartId] };
    private static readonly Workload Gateway = Workload("gateway", "10.0.0.8");
    private static readonly Service Gateways = Service("gateways", "10.96.0.8") with { Ports = Ports((15009, 15008)) };
    private static readonly Workload Far = Cart with { Addresses = [], Network = "far", NetworkGateway = GatewayAt("10.0.0.8") };
    private static readonly Workload Dual = Cart with { Addresses = [IPAddress.Parse("10.0.0.2"), IPAddress.Parse("fd00::2")] };
    private static readonly Service DualService = CartService with { Vips = [Address("10.96.0.2"), Address("fd00:96::2")] };

    /// <summary>What is asked for, in which mesh, what is done, and why.</summary>
    private static readonly (string Name, string Destination, object[] Mesh, string Done, string Why)[] Cases =
    [
        ("unknown address", "192.0.2.1:443", [Cart], "passthrough 192.0.2.1:443", "neither a service nor a workload of the mesh has the address /192.0.2.1"),
        ("empty service", "10.96.0.2:80", [CartService], "refused", $"no healthy upstream: none of the 0 endpoints of service shop/{CartHost} can take port 80"),
        ("unknown port of a service", "10.96.0.2:81", [Cart, CartService], "refused", $"no healthy upstream: service shop/{CartHost} has no port 81; it has 80"),
        ("other network without gateway", "10.96.0.2:80", [Far with { NetworkGateway = null }, Named], "refused", $"no healthy upstream: none of the 1 endpoints of service shop/{CartHost} can take port 80"),
        ("other network, address, no gateway", "10.96.0.2:80", [Cart with { Network = "far" }, Named], "refused", $"endpoint c1//Pod/shop/cart of service shop/{CartHost} is on network 'far', and has no gateway to it"),
        ("other network, gateway by address", "10.96.0.2:80", [Far, Gateway, Named], $"double 10.0.0.8:15008 for {CartHost}:80 as cart", $"endpoint c1//Pod/shop/cart of service shop/{CartHost} is on network 'far', reached through gateway c1//Pod/shop/gateway"),
        ("other network, gateway by host name", "10.96.0.2:80", [Far with { NetworkGateway = new GatewayAddress(Gateways.Key, 15009) }, Workload("gateway", "10.0.0.8", Gateways.Key), Gateways, Named], $"double 10.0.0.8:15008 for {CartHost}:80 as cart", $"endpoint c1//Pod/shop/cart of service shop/{CartHost} is on network 'far', reached through gateway c1//Pod/shop/gateway"),
        ("here unhealthy, far healthy", "10.96.0.2:80", [Far, Workload("here", "10.0.0.3", CartKey) with { Status = WorkloadStatus.Unhealthy }, Gateway, Named with { LoadBalancing = new LoadBalancing(LoadBalancingMode.Failover, [RoutingScope.Network], HealthPolicy.OnlyHealthy) }], $"double 10.0.0.8:15008 for {CartHost}:80 as cart", $"endpoint c1//Pod/shop/cart of service shop/{CartHost} is on network 'far', reached through gateway c1//Pod/shop/gateway"),
        ("same node, HBONE", "10.0.0.2:8080", [Cart with { Node = "n1" }], "hbone 10.0.0.2:15008 for 10.0.0.2:8080", "c1//Pod/shop/cart, the workload that was addressed, takes HBONE"),
        ("other node, HBONE", "10.0.0.2:8080", [Cart with { Node = "n2" }], "hbone 10.0.0.2:15008 for 10.0.0.2:8080", "c1//Pod/shop/cart, the workload that was addressed, takes HBONE"),
        ("same node, TCP", "10.0.0.2:8080", [Cart with { Node = "n1", Protocol = TunnelProtocol.None }], "tcp 10.0.0.2:8080", "c1//Pod/shop/cart, the workload that was addressed, does not take HBONE"),
        ("other node, TCP", "10.0.0.2:8080", [Cart with { Node = "n2", Protocol = TunnelProtocol.None }], "tcp 10.0.0.2:8080", "c1//Pod/shop/cart, the workload that was addressed, does not take HBONE"),
        ("native tunnel is nothing special", "10.0.0.2:8080", [Cart with { NativeTunnel = true }], "hbone 10.0.0.2:15008 for 10.0.0.2:8080", "c1//Pod/shop/cart, the workload that was addressed, takes HBONE"),
        ("waypoint of the workload", "10.0.0.2:8080", [Cart with { Waypoint = GatewayAt("10.0.0.9") }, Waypoint], "hbone 10.0.0.9:15008 for 10.0.0.2:8080", "c1//Pod/shop/waypoint is the waypoint of workload c1//Pod/shop/cart"),
        ("waypoint with IPv4, destination IPv6", "[fd00::2]:8080", [Dual with { Waypoint = GatewayAt("10.0.0.9") }, Waypoint], "hbone 10.0.0.9:15008 for [fd00::2]:8080", "c1//Pod/shop/waypoint is the waypoint of workload c1//Pod/shop/cart"),
        ("waypoint of the service", "10.96.0.2:80", [Cart, Waypoint, CartService with { Waypoint = GatewayAt("10.0.0.9") }], "hbone 10.0.0.9:15008 for 10.96.0.2:80", $"c1//Pod/shop/waypoint is the waypoint of service shop/{CartHost}"),
        ("waypoint that leads nowhere", "10.96.0.2:80", [Cart, CartService with { Waypoint = GatewayAt("10.0.0.77") }], "refused", $"the waypoint of service shop/{CartHost}, /10.0.0.77, cannot be reached: unknown, or without a healthy endpoint"),
        ("named port, one endpoint maps it", "10.96.0.2:80", [Cart, Workload("named", "10.0.0.3", CartKey) with { Services = Maps((80, 9090)) }, CartService with { Ports = Ports((80, 0)) }], "hbone 10.0.0.3:15008 for 10.0.0.3:9090", $"c1//Pod/shop/named, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("host network by service", "10.96.0.2:80", [Cart with { NetworkMode = NetworkMode.HostNetwork }, CartService], "hbone 10.0.0.2:15008 for 10.0.0.2:8080", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("host network by address", "10.0.0.2:8080", [Cart with { NetworkMode = NetworkMode.HostNetwork }], "passthrough 10.0.0.2:8080", "neither a service nor a workload of the mesh has the address /10.0.0.2"),
        ("dual stack, by IPv4", "10.96.0.2:80", [Dual, DualService], "hbone 10.0.0.2:15008 for 10.0.0.2:8080", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("dual stack, by IPv6", "[fd00:96::2]:80", [Dual, DualService], "hbone [fd00::2]:15008 for [fd00::2]:8080", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("families: both", "[fd00:96::2]:80", [Dual, DualService with { IPFamilies = IPFamilies.Dual }], "hbone [fd00::2]:15008 for [fd00::2]:8080", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("families: IPv4 alone", "[fd00:96::2]:80", [Dual, DualService with { IPFamilies = IPFamilies.IPv4Only }], "hbone 10.0.0.2:15008 for 10.0.0.2:8080", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("families: IPv6 alone", "10.96.0.2:80", [Dual, DualService with { IPFamilies = IPFamilies.IPv6Only }], "hbone [fd00::2]:15008 for [fd00::2]:8080", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, takes HBONE"),
        ("families: none left", "10.96.0.2:80", [Cart, CartService with { IPFamilies = IPFamilies.IPv6Only }], "refused", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, has no address of a family that may be used"),
        ("passthrough service", "10.96.0.2:80", [Cart, CartService with { LoadBalancing = LoadBalancing.Default with { Mode = LoadBalancingMode.Passthrough } }], "passthrough 10.96.0.2:80", $"service shop/{CartHost} is load-balanced by passthrough"),
        ("passthrough service with a waypoint", "10.96.0.2:80", [Cart, Waypoint, CartService with { Waypoint = GatewayAt("10.0.0.9"), LoadBalancing = LoadBalancing.Default with { Mode = LoadBalancingMode.Passthrough } }], "hbone 10.0.0.9:15008 for 10.96.0.2:80", $"c1//Pod/shop/waypoint is the waypoint of service shop/{CartHost}"),
        ("host name alone", "10.96.0.2:80", [Cart with { Addresses = [], Hostname = "cart.example" }, CartService], "resolve cart.example", $"c1//Pod/shop/cart, an endpoint of service shop/{CartHost}, has no address but the host name cart.example"),
        ("call to itself", "127.0.0.1:15001", [Cart], "refused", "attempted recursive call to ourselves: 127.0.0.1:15001 is a port of the proxy"),
    ];

    public static TheoryData<string> Names => [.. Cases.Select(one => one.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_connection_is_planned_and_explained(string name)
    {
        var (_, destination, mesh, done, why) = Cases.Single(one => one.Name == name);
        var plan = Planner.Plan(Of([Web with { Node = "n1" }, .. mesh]), Web with { Node = "n1" }, IPAddress.Parse("10.0.0.1"), IPEndPoint.Parse(destination), new Random(1));
        Assert.Equal((done, why), (Summary(plan), plan.Why));
    }

    private static string Summary(OutboundPlan plan) => plan switch
    {
        OutboundPlan.Passthrough one => $"passthrough {one.Destination}",
        OutboundPlan.Tcp one => $"tcp {one.Destination}",
        OutboundPlan.Hbone one => $"hbone {one.NextHop} for {one.Authority}",
        OutboundPlan.DoubleHbone one => $"double {one.NextHop} for {one.Authority} as {string.Join(',', one.Peers.Select(peer => peer.ServiceAccount))}",
        OutboundPlan.Unresolved one => $"resolve {one.Hostname}",
        _ => "refused",
    };

    private static ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>> Maps(params (int Service, int Target)[] ports) =>
        ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty.Add(CartKey, Ports(ports));
}
