using System.Net;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Wire = Mesh.Xds.Protos;
using WireSecurity = Mesh.Xds.Protos.Security;

namespace Mesh.Xds.Workloads;

/// <summary>Messages of a control plane with every field set.</summary>
internal static class Wires
{
    public static ByteString Octets(string address) => ByteString.CopyFrom(IPAddress.Parse(address).GetAddressBytes());

    public static Wire.Workload WholeWorkload() => new()
    {
        Uid = "c2//Pod/shop/cart-0",
        Name = "cart-0",
        Namespace = "shop",
        Addresses = { Octets("10.0.0.2"), Octets("2001:db8::2") },
        Network = "net-2",
        TunnelProtocol = Wire.TunnelProtocol.Hbone,
        TrustDomain = "shop.example",
        ServiceAccount = "cart",
        Waypoint = Gateway("waypoint.shop", 15009),
        Node = "node-3",
        CanonicalName = "cart",
        CanonicalRevision = "v2",
        WorkloadType = Wire.WorkloadType.Job,
        WorkloadName = "cart-deployment",
        NativeTunnel = true,
        AuthorizationPolicies = { "shop/a", "shop/b" },
        Status = Wire.WorkloadStatus.Unhealthy,
        ClusterId = "c2",
        NetworkGateway = new Wire.GatewayAddress { Address = new Wire.NetworkAddress { Network = "net-3", Address = Octets("192.0.2.1") } },
        Hostname = "cart.example",
        Services = { ["shop/cart.shop.svc.cluster.local"] = new Wire.PortList { Ports = { Port(80, 8080), Port(443, 0) } } },
        ApplicationTunnel = new Wire.ApplicationTunnel { Protocol = Wire.ApplicationTunnel.Types.Protocol.Proxy, Port = 15088 },
        Locality = new Wire.Locality { Region = "eu", Zone = "eu-1", Subzone = "rack-7" },
        NetworkMode = Wire.NetworkMode.HostNetwork,
        Extensions = { new Wire.Extension { Name = "x", Config = Any.Pack(new Empty()) } },
        Capacity = 7,
    };

    public static Wire.Service WholeService() => new()
    {
        Name = "cart",
        Namespace = "shop",
        Hostname = "cart.shop.svc.cluster.local",
        Addresses =
        {
            new Wire.NetworkAddress { Network = "net-2", Address = Octets("10.96.0.2"), Length = 32 },
            new Wire.NetworkAddress { Address = Octets("2001:db8::1") },
            new Wire.NetworkAddress { Network = "net-2", Address = Octets("10.97.1.2"), Length = 16 },
            new Wire.NetworkAddress { Address = Octets("2001:db8:1::5"), Length = 48 },
        },
        Ports = { Port(80, 8080), Port(443, 0) },
        SubjectAltNames = { "spiffe://cluster.local/ns/shop/sa/cart" },
        Waypoint = Gateway("waypoint.shop", 0),
        WeightedWaypoints =
        {
            new Wire.WeightedWaypoint { Destination = Gateway("a", 0), Weight = 3 },
            new Wire.WeightedWaypoint { Destination = new Wire.GatewayAddress { Address = new Wire.NetworkAddress { Address = Octets("10.0.0.9") }, HboneMtlsPort = 15009 } },
        },
        LoadBalancing = new Wire.LoadBalancing
        {
            Mode = Wire.LoadBalancing.Types.Mode.Failover,
            HealthPolicy = Wire.LoadBalancing.Types.HealthPolicy.AllowAll,
            RoutingPreference =
            {
                Wire.LoadBalancing.Types.Scope.Network, Wire.LoadBalancing.Types.Scope.Region, Wire.LoadBalancing.Types.Scope.Zone,
                Wire.LoadBalancing.Types.Scope.Subzone, Wire.LoadBalancing.Types.Scope.Node, Wire.LoadBalancing.Types.Scope.Cluster,
            },
        },
        IpFamilies = Wire.IPFamilies.Ipv6Only,
        Extensions = { new Wire.Extension { Name = "x", Config = Any.Pack(new Empty()) } },
        Canonical = true,
        IngressUseWaypoint = true,
        Visibility = Wire.Service.Types.Visibility.Namespace,
    };

    public static WireSecurity.Match WholeMatch() => new()
    {
        Namespaces = { Exact("shop"), new WireSecurity.StringMatch { Prefix = "sh" }, new WireSecurity.StringMatch { Suffix = "op" }, new WireSecurity.StringMatch { Presence = new Empty() } },
        NotNamespaces = { Exact("bank") },
        Principals = { Exact("cluster.local/ns/shop/sa/web") },
        NotPrincipals = { Exact("cluster.local/ns/shop/sa/cart") },
        SourceIps = { Range("10.1.2.3", 8), Range("2001:db8::", 32) },
        NotSourceIps = { Range("10.9.0.0", 16) },
        DestinationIps = { Range("10.0.0.2", 32) },
        NotDestinationIps = { Range("::ffff:10.0.0.3", 128) },
        DestinationPorts = { 8080, 8443 },
        NotDestinationPorts = { 9090 },
        ServiceAccounts = { new WireSecurity.ServiceAccountMatch { Namespace = "shop", ServiceAccount = "web" } },
        NotServiceAccounts = { new WireSecurity.ServiceAccountMatch { Namespace = "shop", ServiceAccount = "cart" } },
    };

    public static WireSecurity.Authorization Policy(WireSecurity.Action action, params WireSecurity.Match[] matches) => new()
    {
        Name = "p",
        Namespace = "shop",
        Scope = WireSecurity.Scope.Namespace,
        Action = action,
        Rules = { new WireSecurity.Rule { Clauses = { new WireSecurity.Clause { Matches = { matches } } } } },
    };

    public static WireSecurity.StringMatch Exact(string text) => new() { Exact = text };

    public static WireSecurity.Address Range(string address, uint length) => new() { Address_ = Octets(address), Length = length };

    private static Wire.GatewayAddress Gateway(string hostname, uint port) =>
        new() { Hostname = new Wire.NamespacedHostname { Namespace = "shop", Hostname = hostname }, HboneMtlsPort = port };

    private static Wire.Port Port(uint service, uint target) => new() { ServicePort = service, TargetPort = target, AppProtocol = Wire.AppProtocol.Http2 };
}
