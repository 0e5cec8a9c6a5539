using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Testing;

/// <summary>Small meshes, each test shows what matters to it.</summary>
public static class TestMesh
{
    public const string CartHost = "cart.shop.svc.cluster.local";
    public static readonly NamespacedHostname CartKey = new("shop", CartHost);
    public static readonly Workload Web = Workload("web", "10.0.0.1");
    public static readonly Workload Cart = Workload("cart", "10.0.0.2", CartKey);
    public static readonly Workload Waypoint = Workload("waypoint", "10.0.0.9");
    public static readonly Service CartService = Service("cart", "10.96.0.2");

    public static Workload Workload(string name, string address, params NamespacedHostname[] services) => new()
    {
        Uid = $"c1//Pod/shop/{name}",
        Name = name,
        Namespace = "shop",
        ServiceAccount = name,
        Addresses = [IPAddress.Parse(address)],
        Protocol = TunnelProtocol.Hbone,
        Services = services.ToImmutableDictionary(service => service, _ => FrozenDictionary<int, int>.Empty),
    };

    public static Service Service(string name, string vip) => new()
    {
        Name = name,
        Namespace = "shop",
        Hostname = $"{name}.shop.svc.cluster.local",
        Vips = [Address(vip)],
        Ports = Ports((80, 8080)),
    };

    public static FrozenDictionary<int, int> Ports(params (int Service, int Target)[] ports) => ports.ToFrozenDictionary(port => port.Service, port => port.Target);

    public static NetworkAddress Address(string address) => new("", IPAddress.Parse(address));

    public static GatewayAddress GatewayAt(string address) => new(Address(address), 15008);

    public static MeshSnapshot Of(params object[] members)
    {
        var state = new MeshState();
        state.Replace(members.OfType<Workload>(), members.OfType<Service>(), []);
        return state.Current;
    }
}
