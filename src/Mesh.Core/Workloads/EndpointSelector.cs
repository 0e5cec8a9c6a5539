using System.Collections.Frozen;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Core.Workloads;

/// <summary>An endpoint of a service, chosen for one connection.</summary>
/// <param name="Workload">The workload.</param>
/// <param name="Address">The address of the workload to use; null when it has none here.</param>
/// <param name="Port">The port that the application listens on.</param>
public sealed record SelectedEndpoint(Workload Workload, IPAddress? Address, int Port);

/// <summary>Chooses among the workloads behind a service (ztunnel §7.2 to §7.4). Pure but for the randomness, which the caller brings.</summary>
public static class EndpointSelector
{
    /// <summary>Chooses an endpoint for one connection; null when none may take it.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="service">The service.</param>
    /// <param name="servicePort">The port that the client dialled.</param>
    /// <param name="source">The workload of the client.</param>
    /// <param name="destination">The address that the client dialled: an endpoint's own address and family are preferred.</param>
    /// <param name="random">The randomness.</param>
    public static SelectedEndpoint? Select(MeshSnapshot mesh, Service service, int servicePort, Workload source, IPAddress destination, Random random)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(service);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(random);
        if (!service.Ports.ContainsKey(servicePort))
        {
            return null;
        }

        var best = new List<(Workload Workload, int Port)>();
        var bestRank = -1;
        foreach (var workload in mesh.EndpointsOf(service.Key).Values)
        {
            if (IsCandidate(workload, source, service) && TargetPort(workload, service, servicePort) is { } port
                && Rank(workload, source, service.LoadBalancing) is { } rank && rank >= bestRank)
            {
                if (rank > bestRank)
                {
                    best.Clear();
                    bestRank = rank;
                }

                best.Add((workload, port));
            }
        }

        return ByCapacity(best, random) is { } chosen
            ? new SelectedEndpoint(chosen.Workload, AddressOf(chosen.Workload, service.IPFamilies, NetworkAddress.Canonical(destination)), chosen.Port)
            : null;
    }

    /// <summary>The application's port for a service port: the endpoint's own mapping, then the service's; null when neither knows it (ztunnel §7.2).</summary>
    public static int? TargetPort(Workload workload, Service service, int servicePort)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(service);
        var own = workload.Services.GetValueOrDefault(service.Key, FrozenDictionary<int, int>.Empty);
        return own.TryGetValue(servicePort, out var port) && port > 0 ? port
            : service.Ports.TryGetValue(servicePort, out var target) && target > 0 ? target
            : workload.ApplicationTunnel?.Port is not null ? servicePort
            : null;
    }

    private static bool IsCandidate(Workload workload, Workload source, Service service)
    {
        var healthy = workload.Status is WorkloadStatus.Healthy || service.LoadBalancing.HealthPolicy is HealthPolicy.AllowAll;
        var reachable = !workload.Addresses.IsEmpty || workload.Hostname.Length > 0 || (workload.Network != source.Network && workload.NetworkGateway is not null);
        return healthy && reachable;
    }

    /// <summary>How well a candidate fits; null when it must not be chosen (ztunnel §7.3).</summary>
    private static int? Rank(Workload candidate, Workload source, LoadBalancing balancing)
    {
        if (balancing.Mode is not (LoadBalancingMode.Strict or LoadBalancingMode.Failover))
        {
            return 0;
        }

        var preferences = balancing.RoutingPreferences;
        var matched = 0;
        var bonus = 0;
        for (var i = 0; i < preferences.Length; i++)
        {
            if (IsSame(preferences[i], candidate, source))
            {
                matched++;

                // Any candidate of the own network outranks every other.
                bonus = i == 0 && preferences[i] is RoutingScope.Network ? preferences.Length - 1 : bonus;
            }
            else if (!(i == 0 && preferences[i] is RoutingScope.Network))
            {
                break;
            }
        }

        return balancing.Mode is LoadBalancingMode.Strict && matched != preferences.Length ? null : matched + bonus;
    }

    private static bool IsSame(RoutingScope scope, Workload candidate, Workload source) => scope switch
    {
        RoutingScope.Region => candidate.Locality.Region == source.Locality.Region,
        RoutingScope.Zone => candidate.Locality.Zone == source.Locality.Zone,
        RoutingScope.Subzone => candidate.Locality.Subzone == source.Locality.Subzone,
        RoutingScope.Node => candidate.Node == source.Node,
        RoutingScope.Cluster => candidate.ClusterId == source.ClusterId,
        _ => candidate.Network == source.Network,
    };

    private static (Workload Workload, int Port)? ByCapacity(List<(Workload Workload, int Port)> candidates, Random random)
    {
        var total = candidates.Sum(candidate => (long)candidate.Workload.Capacity);
        if (total == 0)
        {
            return null;
        }

        var ticket = random.NextInt64(total);
        foreach (var candidate in candidates)
        {
            ticket -= candidate.Workload.Capacity;
            if (ticket < 0)
            {
                return candidate;
            }
        }

        return candidates[^1];
    }

    private static IPAddress? AddressOf(Workload workload, IPFamilies families, IPAddress destination)
    {
        if (workload.Addresses.Contains(destination))
        {
            return destination;
        }

        var allowed = workload.Addresses.Where(address => families switch
        {
            IPFamilies.IPv4Only => address.AddressFamily is AddressFamily.InterNetwork,
            IPFamilies.IPv6Only => address.AddressFamily is AddressFamily.InterNetworkV6,
            _ => true,
        }).ToList();
        return allowed.Find(address => address.AddressFamily == destination.AddressFamily) ?? allowed.FirstOrDefault();
    }
}
