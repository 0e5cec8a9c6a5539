using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;

namespace Mesh.Benchmarks;

/// <summary>Meshes of any size: services of ten workloads each, in a hundred namespaces.</summary>
internal static class SyntheticMesh
{
    private const int EndpointsPerService = 10;
    private const int Namespaces = 100;

    public static IEnumerable<Workload> Workloads(int count) => Enumerable.Range(0, count).Select(i => Workload(i));

    public static IEnumerable<Service> Services(int workloads) => Enumerable.Range(0, workloads / EndpointsPerService).Select(i => new Service
    {
        Name = $"service-{i}",
        Namespace = $"ns-{i % Namespaces}",
        Hostname = $"service-{i}.ns-{i % Namespaces}.svc.cluster.local",
        Vips = [new NetworkAddress("", new IPAddress([10, 96, (byte)(i >> 8), (byte)i]))],
        Ports = new Dictionary<int, int> { [80] = 8080 }.ToFrozenDictionary(),
    });

    public static Workload Workload(int i, WorkloadStatus status = WorkloadStatus.Healthy)
    {
        var service = i / EndpointsPerService;
        return new Workload
        {
            Uid = $"cluster//Pod/ns-{service % Namespaces}/pod-{i}",
            Name = $"pod-{i}",
            Namespace = $"ns-{service % Namespaces}",
            ServiceAccount = $"sa-{service}",
            Node = $"node-{i % 1000}",
            Addresses = [Address(i)],
            Protocol = TunnelProtocol.Hbone,
            Status = status,
            Services = ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty.Add(
                new NamespacedHostname($"ns-{service % Namespaces}", $"service-{service}.ns-{service % Namespaces}.svc.cluster.local"), FrozenDictionary<int, int>.Empty),
        };
    }

    public static IPAddress Address(int i) => new([10, (byte)(i >> 16), (byte)(i >> 8), (byte)i]);

    /// <summary>Policies of one namespace, each allowing one service account to one port.</summary>
    public static IEnumerable<L4Authorization> Policies(int count) => Enumerable.Range(0, count).Select(i => new L4Authorization
    {
        Name = $"policy-{i}",
        Namespace = "ns-0",
        Scope = AuthorizationScope.Namespace,
        Action = i % 10 == 9 ? AuthorizationAction.Deny : AuthorizationAction.Allow,
        Rules =
        [
            new AuthorizationRule(
                new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Exact($"cluster.local/ns/ns-0/sa/sa-{i}")] }),
                new AuthorizationClause(new AuthorizationMatch { DestinationPorts = [i % 10 == 9 ? 9999 : 8080] })),
        ],
    });
}
