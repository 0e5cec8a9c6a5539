using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;

namespace Mesh.Core.Workloads;

/// <summary>Workloads and services in the words that a test cares about.</summary>
internal static class Meshes
{
    public static readonly NamespacedHostname CartKey = new("shop", "cart.example");

    public static Workload Pod(string name, params IEnumerable<string> addresses) => new()
    {
        Uid = $"Kubernetes//Pod/shop/{name}",
        Name = name,
        Namespace = "shop",
        Addresses = [.. addresses.Select(IPAddress.Parse)],
    };

    /// <summary>An endpoint of a service, with its own service port to target port map.</summary>
    public static Workload Behind(this Workload workload, NamespacedHostname service, params (int Port, int Target)[] ports) =>
        workload with { Services = workload.Services.SetItem(service, Map(ports)) };

    public static Service Cart(params (int Port, int Target)[] ports) => ServiceOf("shop") with { Ports = Map(ports) };

    /// <summary>The service "cart.example" of a namespace.</summary>
    public static Service ServiceOf(string ns, params IEnumerable<string> vips) => new()
    {
        Name = "cart",
        Namespace = ns,
        Hostname = "cart.example",
        Vips = [.. vips.Select(At)],
    };

    public static Service WithRanges(this Service service, params IEnumerable<string> ranges) =>
        service with { CidrVips = [.. ranges.Select(range => new NetworkRange("", IPNetwork.Parse(range)))] };

    public static Service Balanced(this Service service, LoadBalancingMode mode, params ImmutableArray<RoutingScope> preferences) =>
        service with { LoadBalancing = new LoadBalancing(mode, preferences, HealthPolicy.OnlyHealthy) };

    public static NetworkAddress At(string address) => new("", IPAddress.Parse(address));

    public static MeshSnapshot Of(params IEnumerable<object> members)
    {
        var mesh = new MeshState();
        mesh.Update(editor =>
        {
            foreach (var member in members)
            {
                switch (member)
                {
                    case Workload workload:
                        editor.Upsert(workload);
                        break;
                    case Service service:
                        editor.Upsert(service);
                        break;
                    default:
                        throw new ArgumentException($"{member} is neither workload nor service", nameof(members));
                }
            }
        });
        return mesh.Current;
    }

    private static FrozenDictionary<int, int> Map((int Port, int Target)[] ports) => ports.ToFrozenDictionary(port => port.Port, port => port.Target);
}
