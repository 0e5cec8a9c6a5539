using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Workloads;
using Mesh.Testing;

namespace Mesh.Ztunnel.Dns;

/// <summary>A mesh with every kind of name. The client is in namespace ns1; names of namespace ns4 are preferred.</summary>
internal static class DnsMesh
{
    public static readonly Workload Client = Pod("client", "10.0.0.1") with { CanonicalName = "web", CanonicalRevision = "v1" };

    public static readonly DnsProxyOptions Options = new() { PreferredServiceNamespace = "ns4" };

    public static MeshSnapshot Snapshot { get; } = Create().Current;

    public static MeshState Create()
    {
        Service[] services =
        [
            Kubernetes("cart", "ns1", "/10.96.0.1"),
            Kubernetes("cart", "ns2", "/10.96.0.2"),
            Kubernetes("only2", "ns2", "/10.96.0.3"),
            Kubernetes("private", "ns2", "/10.96.0.4") with { Visibility = ServiceVisibility.Namespace },
            Kubernetes("own", "ns1", "/10.96.0.5") with { Visibility = ServiceVisibility.Namespace },
            Kubernetes("six", "ns1", "/fd00::6"),
            Kubernetes("dual", "ns1", "/10.96.0.7", "/fd00::7"),
            Kubernetes("dual4", "ns1", "/10.96.0.8", "/fd00::8") with { IPFamilies = IPFamilies.IPv4Only },
            Kubernetes("dual6", "ns1", "/10.96.0.9", "/fd00::9") with { IPFamilies = IPFamilies.IPv6Only },
            Kubernetes("remote", "ns1", "far/10.96.0.10"),
            Kubernetes("both", "ns1", "/10.96.0.11", "far/10.96.0.12"),
            Kubernetes("several", "ns1", "/10.96.0.13", "/10.96.0.14", "/10.96.0.15"),
            Kubernetes("headless", "ns1"),
            Kubernetes("nobody", "ns1"),
            Kubernetes("allowall", "ns1") with { LoadBalancing = LoadBalancing.Default with { HealthPolicy = HealthPolicy.AllowAll } },
            External("www.example.com", "ns1", "/10.97.0.1"),
            External("Mixed.Example.com", "ns1", "/10.97.0.2"),
            External("*.wild.example", "ns1", "/10.97.0.3"),
            External("*.deep.wild.example", "ns1", "/10.97.0.4"),
            External("exact.wild.example", "ns1", "/10.97.0.5"),
            External("headless.example", "ns1"),
            External("mine.example", "ns2", "/10.98.0.1") with { Canonical = true },
            External("mine.example", "ns1", "/10.98.0.2"),
            External("canonical.example", "ns4", "/10.98.0.3"),
            External("canonical.example", "ns3", "/10.98.0.4") with { Canonical = true },
            External("preferred.example", "ns2", "/10.98.0.5"),
            External("preferred.example", "ns4", "/10.98.0.6"),
            External("first.example", "ns2", "/10.98.0.7"),
            External("first.example", "ns3", "/10.98.0.8"),
            External("seen.example", "ns2", "/10.98.0.9") with { Visibility = ServiceVisibility.Namespace, Canonical = true },
            External("seen.example", "ns3", "/10.98.0.10"),
            External("usable.example", "ns4"),
            External("usable.example", "ns2", "/10.98.0.11"),
            External("large.example", "ns1", [.. Enumerable.Range(0, 256).Select(i => $"/10.99.0.{i}")]),
        ];
        Workload[] workloads =
        [
            Client,
            Pod("headless-1", "10.0.1.1", "fd00:1::1") with { Services = Of("headless") },
            Pod("headless-2", "10.0.1.2", "10.0.1.102") with { Services = Of("headless") },
            Pod("headless-3", "10.0.1.3") with { Services = Of("headless"), Network = "far" },
            Pod("headless-4", "10.0.1.4") with { Services = Of("headless"), Status = WorkloadStatus.Unhealthy },
            Pod("headless-5") with { Services = Of("headless") },
            Pod("headless-6", "10.0.1.1") with { Services = Of("headless"), NetworkMode = NetworkMode.HostNetwork },
            Pod("allowall-1", "10.0.2.1") with { Services = Of("allowall"), Status = WorkloadStatus.Unhealthy },
        ];
        var state = new MeshState();
        state.Replace(workloads, services, []);
        return state;
    }

    private static Workload Pod(string name, params string[] addresses) =>
        TestMesh.Workload(name, "10.0.0.1") with { Uid = $"c1//Pod/ns1/{name}", Namespace = "ns1", Addresses = [.. addresses.Select(IPAddress.Parse)] };

    private static Service Kubernetes(string name, string ns, params string[] vips) => External($"{name}.{ns}.svc.cluster.local", ns, vips) with { Name = name };

    private static Service External(string hostname, string ns, params string[] vips) => new()
    {
        Name = hostname,
        Namespace = ns,
        Hostname = hostname,
        Vips = [.. vips.Select(vip => new NetworkAddress(vip.Split('/')[0], IPAddress.Parse(vip.Split('/')[1])))],
    };

    private static ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>> Of(string name) =>
        ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty.Add(
            new NamespacedHostname("ns1", $"{name}.ns1.svc.cluster.local"), FrozenDictionary<int, int>.Empty);
}
