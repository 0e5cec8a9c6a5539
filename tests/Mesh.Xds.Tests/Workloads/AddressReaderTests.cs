using System.Net;
using Google.Protobuf;
using Mesh.Core.Workloads;
using Wire = Mesh.Xds.Protos;

namespace Mesh.Xds.Workloads;

/// <summary>Every field of <c>istio.workload.Address</c> (ztunnel §6.1), and every reason to refuse one (§5.5).</summary>
public sealed class AddressReaderTests
{
    private readonly AddressReader _reader = new();

    [Fact]
    public void Every_field_of_a_workload_is_read()
    {
        var workload = Read(Wires.WholeWorkload());

        Assert.Equal("c2//Pod/shop/cart-0", workload.Uid);
        Assert.Equal(("cart-0", "shop", "cart"), (workload.Name, workload.Namespace, workload.ServiceAccount));
        Assert.Equal("spiffe://shop.example/ns/shop/sa/cart", workload.Identity.ToString());
        Same([IPAddress.Parse("10.0.0.2"), IPAddress.Parse("2001:db8::2")], workload.Addresses);
        Assert.Equal(("net-2", "node-3", "c2"), (workload.Network, workload.Node, workload.ClusterId));
        Assert.Equal((TunnelProtocol.Hbone, NetworkMode.HostNetwork, WorkloadStatus.Unhealthy), (workload.Protocol, workload.NetworkMode, workload.Status));
        Assert.Equal(new GatewayAddress(new NamespacedHostname("shop", "waypoint.shop"), 15009), workload.Waypoint);
        Assert.Equal(new GatewayAddress(new NetworkAddress("net-3", IPAddress.Parse("192.0.2.1")), 15008), workload.NetworkGateway);
        Assert.Equal(("cart", "v2"), (workload.CanonicalName, workload.CanonicalRevision));
        Assert.Equal((WorkloadType.Job, "cart-deployment"), (workload.WorkloadType, workload.WorkloadName));
        Assert.True(workload.NativeTunnel);
        Assert.Equal("cart.example", workload.Hostname);
        Assert.Equal(new Locality("eu", "eu-1", "rack-7"), workload.Locality);
        Assert.Equal(new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088), workload.ApplicationTunnel);
        Assert.Equal(7u, workload.Capacity);
        Same(["shop/a", "shop/b"], workload.AuthorizationPolicies);
        var (service, ports) = Assert.Single(workload.Services);
        Assert.Equal("shop/cart.shop.svc.cluster.local", service.ToString());
        Assert.Equal([KeyValuePair.Create(80, 8080), KeyValuePair.Create(443, 0)], ports.OrderBy(pair => pair.Key));
    }

    [Fact]
    public void A_workload_without_any_field_but_those_it_must_have_gets_the_defaults()
    {
        var workload = Read(new Wire.Workload { Uid = "u", Namespace = "shop" });
        var plain = new Workload { Uid = "u", Namespace = "shop" };

        // Empty dictionaries are equal by identity.
        Assert.Empty(workload.Services);
        Assert.Equal(plain, workload with { Services = plain.Services, Addresses = plain.Addresses, AuthorizationPolicies = plain.AuthorizationPolicies });
        Assert.Equal("spiffe://cluster.local/ns/shop/sa/default", workload.Identity.ToString());
        Assert.Equal(("Kubernetes", 1u), (workload.ClusterId, workload.Capacity));
    }

    [Fact]
    public void Every_field_of_a_service_is_read()
    {
        var service = Read(Wires.WholeService());

        Assert.Equal(("cart", "shop", "cart.shop.svc.cluster.local"), (service.Name, service.Namespace, service.Hostname));
        Same([new NetworkAddress("net-2", IPAddress.Parse("10.96.0.2")), new NetworkAddress("", IPAddress.Parse("2001:db8::1"))], service.Vips);
        Same([new NetworkRange("net-2", IPNetwork.Parse("10.97.0.0/16")), new NetworkRange("", IPNetwork.Parse("2001:db8:1::/48"))], service.CidrVips);
        Assert.Equal([KeyValuePair.Create(80, 8080), KeyValuePair.Create(443, 0)], service.Ports.OrderBy(pair => pair.Key));
        Same(["spiffe://cluster.local/ns/shop/sa/cart"], service.SubjectAltNames);
        Assert.Equal(new GatewayAddress(new NamespacedHostname("shop", "waypoint.shop"), 15008), service.Waypoint);
        Same(
            [new WeightedWaypoint(new GatewayAddress(new NamespacedHostname("shop", "a"), 15008), 3), new WeightedWaypoint(new GatewayAddress(new NetworkAddress("", IPAddress.Parse("10.0.0.9")), 15009), 0)],
            service.WeightedWaypoints);
        Assert.Equal((LoadBalancingMode.Failover, HealthPolicy.AllowAll), (service.LoadBalancing.Mode, service.LoadBalancing.HealthPolicy));
        Same(
            [RoutingScope.Network, RoutingScope.Region, RoutingScope.Zone, RoutingScope.Subzone, RoutingScope.Node, RoutingScope.Cluster], service.LoadBalancing.RoutingPreferences);
        Assert.Equal((IPFamilies.IPv6Only, true, ServiceVisibility.Namespace), (service.IPFamilies, service.Canonical, service.Visibility));
        Assert.Null(service.TrafficPolicy);
    }

    [Fact]
    public void A_service_without_any_field_but_its_name_is_headless_and_public()
    {
        var service = Read(new Wire.Service { Namespace = "shop", Hostname = "cart.shop" });

        Assert.Empty(service.Vips);
        Assert.Empty(service.Ports);
        Assert.Equal(LoadBalancing.Default, service.LoadBalancing);
        Assert.Equal((IPFamilies.Automatic, ServiceVisibility.Public, false), (service.IPFamilies, service.Visibility, service.Canonical));
    }

    [Theory]
    [InlineData(Wire.LoadBalancing.Types.Mode.UnspecifiedMode, LoadBalancingMode.Standard)]
    [InlineData(Wire.LoadBalancing.Types.Mode.Strict, LoadBalancingMode.Strict)]
    [InlineData(Wire.LoadBalancing.Types.Mode.Failover, LoadBalancingMode.Failover)]
    [InlineData(Wire.LoadBalancing.Types.Mode.Passthrough, LoadBalancingMode.Passthrough)]
    public void Every_mode_of_load_balancing_is_known(object wire, LoadBalancingMode expected) => Assert.Equal(
        expected,
        Read(new Wire.Service { Hostname = "h", LoadBalancing = new Wire.LoadBalancing { Mode = (Wire.LoadBalancing.Types.Mode)wire } }).LoadBalancing.Mode);

    [Fact]
    public void A_visibility_that_is_not_known_is_public_and_a_kind_of_workload_a_deployment()
    {
        Assert.Equal(ServiceVisibility.Public, Read(new Wire.Service { Hostname = "h", Visibility = (Wire.Service.Types.Visibility)9 }).Visibility);
        Assert.Equal(WorkloadType.Deployment, Read(new Wire.Workload { Uid = "u", Namespace = "shop", WorkloadType = (Wire.WorkloadType)9 }).WorkloadType);
    }

    [Fact]
    public void An_IPv4_address_in_IPv6_form_is_kept_as_IPv4()
    {
        var mapped = ByteString.CopyFrom(IPAddress.Parse("::ffff:10.0.0.2").GetAddressBytes());
        Same([IPAddress.Parse("10.0.0.2")], Read(new Wire.Workload { Uid = "u", Namespace = "shop", Addresses = { mapped } }).Addresses);

        var service = Read(new Wire.Service
        {
            Hostname = "h",
            Addresses = { new Wire.NetworkAddress { Address = mapped }, new Wire.NetworkAddress { Address = mapped, Length = 128 }, new Wire.NetworkAddress { Address = mapped, Length = 120 } },
        });
        Same([new NetworkAddress("", IPAddress.Parse("10.0.0.2")), new NetworkAddress("", IPAddress.Parse("10.0.0.2"))], service.Vips);
        Same([new NetworkRange("", IPNetwork.Parse("10.0.0.0/24"))], service.CidrVips);
    }

    [Theory]
    [InlineData(0u, "0.0.0.0/0")]
    [InlineData(8u, "10.0.0.0/8")]
    [InlineData(31u, "10.1.2.2/31")]
    public void A_VIP_with_a_length_is_a_range_without_its_host_bits(uint length, string expected) => Same(
        [new NetworkRange("", IPNetwork.Parse(expected))],
        Read(new Wire.Service { Hostname = "h", Addresses = { new Wire.NetworkAddress { Address = Wires.Octets("10.1.2.3"), Length = length } } }).CidrVips);

    [Fact]
    public void The_names_by_which_it_may_have_been_asked_for_are_its_addresses_and_its_host_name()
    {
        var workload = Wires.WholeWorkload();
        workload.NetworkMode = Wire.NetworkMode.Standard;
        Assert.Equal(["net-2/10.0.0.2", "net-2/2001:db8::2", "shop/cart.example"], Address(new Wire.Address { Workload = workload }).Names);
        Assert.Empty(Address(new Wire.Address { Workload = Wires.WholeWorkload() }).Names);
        Assert.Equal(["net-2/10.96.0.2", "/2001:db8::1"], Address(new Wire.Address { Service = Wires.WholeService() }).Names);
    }

    internal static TheoryData<string, Action<Wire.Workload>> WorkloadFaults => new()
    {
        { "uid is empty", w => w.Uid = "" },
        { "trust_domain is none: ", w => w.TrustDomain = "Shop Example" },
        { "namespace and service_account make no identity: ", w => w.Namespace = "a/b" },
        { "namespace and service_account make no identity: ", w => w.ServiceAccount = "a b" },
        { "addresses[2] has 0 octets; allowed are 4 and 16", w => w.Addresses.Add(ByteString.Empty) },
        { "addresses[2] has 5 octets; allowed are 4 and 16", w => w.Addresses.Add(ByteString.CopyFrom(1, 2, 3, 4, 5)) },
        { "tunnel_protocol is LegacyIstioMtls; allowed are NONE (0) and HBONE (1)", w => w.TunnelProtocol = Wire.TunnelProtocol.LegacyIstioMtls },
        { "tunnel_protocol is 3; allowed are NONE (0) and HBONE (1)", w => w.TunnelProtocol = (Wire.TunnelProtocol)3 },
        { "network_mode is 2; allowed are STANDARD (0) and HOST_NETWORK (1)", w => w.NetworkMode = (Wire.NetworkMode)2 },
        { "status is -1; allowed are HEALTHY (0) and UNHEALTHY (1)", w => w.Status = (Wire.WorkloadStatus)(-1) },
        { "waypoint has no destination; allowed are a hostname and an address", w => w.Waypoint = new Wire.GatewayAddress { HboneMtlsPort = 15008 } },
        { "waypoint.hbone_mtls_port is 65536; allowed are 0 (for 15008) to 65535", w => w.Waypoint.HboneMtlsPort = 65536 },
        { "network_gateway.address has 3 octets; allowed are 4 and 16", w => w.NetworkGateway.Address.Address = ByteString.CopyFrom(1, 2, 3) },
        { "network_gateway has no destination", w => w.NetworkGateway = new Wire.GatewayAddress() },
        { "services has the key 'cart'; allowed are keys of the form namespace/hostname", w => w.Services["cart"] = new Wire.PortList() },
        { "services[shop/cart.shop.svc.cluster.local].ports has 80:65536; allowed are ports up to 65535", w => w.Services["shop/cart.shop.svc.cluster.local"].Ports[0].TargetPort = 65536 },
        { "services[shop/cart.shop.svc.cluster.local].ports has 0:80; allowed are ports up to 65535", w => w.Services["shop/cart.shop.svc.cluster.local"].Ports.Add(new Wire.Port { TargetPort = 80 }) },
        { "application_tunnel.protocol is 2; allowed are NONE (0) and PROXY (1)", w => w.ApplicationTunnel.Protocol = (Wire.ApplicationTunnel.Types.Protocol)2 },
        { "application_tunnel.port is 70000; allowed are 0 (that of the request) to 65535", w => w.ApplicationTunnel.Port = 70000 },
    };

    internal static TheoryData<string, Action<Wire.Service>> ServiceFaults => new()
    {
        { "hostname is empty", s => s.Hostname = "" },
        { "addresses[0].address has 6 octets; allowed are 4 and 16", s => s.Addresses[0].Address = ByteString.CopyFrom(new byte[6]) },
        { "addresses[0].length is 33; allowed are 0 to 32", s => s.Addresses[0].Length = 33 },
        { "addresses[1].length is 129; allowed are 0 to 128", s => s.Addresses[1].Length = 129 },
        { "ports has 65536:1; allowed are ports up to 65535", s => s.Ports[0] = new Wire.Port { ServicePort = 65536, TargetPort = 1 } },
        { "waypoint has no destination; allowed are a hostname and an address", s => s.Waypoint = new Wire.GatewayAddress() },
        { "weighted_waypoints[0] has no destination", s => s.WeightedWaypoints[0].Destination = null },
        { "weighted_waypoints[1].destination has no destination; allowed are a hostname and an address", s => s.WeightedWaypoints[1].Destination = new Wire.GatewayAddress() },
        { "load_balancing.mode is 4; allowed are UNSPECIFIED_MODE (0) to PASSTHROUGH (3)", s => s.LoadBalancing.Mode = (Wire.LoadBalancing.Types.Mode)4 },
        { "load_balancing.health_policy is 2; allowed are ONLY_HEALTHY (0) and ALLOW_ALL (1)", s => s.LoadBalancing.HealthPolicy = (Wire.LoadBalancing.Types.HealthPolicy)2 },
        { "load_balancing.routing_preference is UnspecifiedScope; allowed are REGION (1) to NETWORK (6)", s => s.LoadBalancing.RoutingPreference.Add(Wire.LoadBalancing.Types.Scope.UnspecifiedScope) },
        { "load_balancing.routing_preference is 7; allowed are REGION (1) to NETWORK (6)", s => s.LoadBalancing.RoutingPreference.Add((Wire.LoadBalancing.Types.Scope)7) },
        { "ip_families is 4; allowed are AUTOMATIC (0) to DUAL (3)", s => s.IpFamilies = (Wire.IPFamilies)4 },
    };

    [Fact]
    public void A_workload_with_a_value_that_is_not_allowed_is_refused_and_the_field_named() => Assert.All(WorkloadFaults, row =>
    {
        var (expected, change) = ((string)row[0], (Action<Wire.Workload>)row[1]);
        var workload = Wires.WholeWorkload();
        change(workload);
        Assert.StartsWith(expected, Assert.Throws<ResourceException>(() => Read(workload)).Message);
    });

    [Fact]
    public void A_service_with_a_value_that_is_not_allowed_is_refused_and_the_field_named() => Assert.All(ServiceFaults, row =>
    {
        var (expected, change) = ((string)row[0], (Action<Wire.Service>)row[1]);
        var service = Wires.WholeService();
        change(service);
        Assert.StartsWith(expected, Assert.Throws<ResourceException>(() => Read(service)).Message);
    });

    [Fact]
    public void All_faults_of_a_resource_are_said_at_once_up_to_a_limit()
    {
        var workload = Wires.WholeWorkload();
        workload.Uid = "";
        workload.TunnelProtocol = Wire.TunnelProtocol.LegacyIstioMtls;
        Assert.Contains("uid is empty, tunnel_protocol is LegacyIstioMtls", Assert.Throws<ResourceException>(() => Read(workload)).Message, StringComparison.Ordinal);

        workload.Addresses.AddRange(Enumerable.Repeat(ByteString.Empty, 10_000));
        Assert.InRange(Assert.Throws<ResourceException>(() => Read(workload)).Message.Length, 1, 2_000);
    }

    [Fact]
    public void Neither_a_workload_nor_a_service_is_refused() =>
        Assert.Equal("it is neither a workload nor a service", Assert.Throws<ResourceException>(() => _reader.Read([])).Message);

    [Fact]
    public void Octets_that_are_no_message_are_refused() => Assert.Throws<InvalidProtocolBufferException>(() => _reader.Read([0xFF, 0xFF]));

    [Fact]
    public void What_many_workloads_have_in_common_is_kept_once()
    {
        var (first, second) = (Read(Wires.WholeWorkload()), Read(Wires.WholeWorkload()));
        Assert.Same(first.Namespace, second.Namespace);
        Assert.Same(first.Services.Values.Single(), second.Services.Values.Single());
    }

    private MeshAddress Address(Wire.Address address) => _reader.Read(address.ToByteArray());

    private Workload Read(Wire.Workload workload) => Address(new Wire.Address { Workload = workload }).Workload!;

    private Service Read(Wire.Service service) => Address(new Wire.Address { Service = service }).Service!;

    // Immutable arrays are equal by identity; what they hold is compared here.
    private static void Same<T>(IEnumerable<T> expected, IEnumerable<T> actual) => Assert.Equal(expected, actual);
}
