using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Core.Workloads;

/// <summary>An endpoint of a service, chosen for one connection.</summary>
/// <param name="Workload">The workload.</param>
/// <param name="Address">The address of the workload to use; null when it has none here.</param>
/// <param name="Port">The port that the application listens on.</param>
public sealed record SelectedEndpoint(Workload Workload, IPAddress? Address, int Port);

/// <summary>What became of one endpoint in a choice.</summary>
/// <param name="Workload">The endpoint.</param>
/// <param name="FellOut">Why it could not be chosen; null when it could.</param>
public sealed record EndpointVerdict(Workload Workload, string? FellOut);

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
    /// <param name="excluded">Says of an endpoint why it must not be chosen now, or null; null to exclude none.</param>
    public static SelectedEndpoint? Select(
        MeshSnapshot mesh, Service service, int servicePort, Workload source, IPAddress destination, Random random, Func<Service, Workload, string?>? excluded = null) =>
        Select(mesh, service, servicePort, isWaypoint: false, source, destination, random, excluded);

    /// <summary>What became of every endpoint of a service in such a choice, best first. For people: it costs as much as there are endpoints.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="service">The service.</param>
    /// <param name="servicePort">The port that the client dialled.</param>
    /// <param name="source">The workload of the client.</param>
    /// <param name="excluded">Says of an endpoint why it must not be chosen now, or null; null to exclude none.</param>
    public static ImmutableArray<EndpointVerdict> Explain(
        MeshSnapshot mesh, Service service, int servicePort, Workload source, Func<Service, Workload, string?>? excluded = null)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(service);
        ArgumentNullException.ThrowIfNull(source);
        return Explain(mesh, new EndpointQuery(service, servicePort, IsWaypoint: false, SourcePlace.Of(source)), excluded);
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

    internal static SelectedEndpoint? Select(
        MeshSnapshot mesh, Service service, int servicePort, bool isWaypoint, Workload source, IPAddress destination, Random random, Func<Service, Workload, string?>? excluded)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(service);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(random);
        var endpoints = mesh.Endpoints.GetValueOrDefault(service.Key, ServiceEndpoints.None);
        var query = new EndpointQuery(service, servicePort, isWaypoint, SourcePlace.Of(source));
        var group = excluded is null ? endpoints.Best(query) : EndpointGroup.Of(endpoints.ByUid.Values, query, excluded);
        return group.Choose(random) is { } chosen
            ? new SelectedEndpoint(chosen.Workload, AddressOf(chosen.Workload, service.IPFamilies, NetworkAddress.Canonical(destination)), chosen.Port)
            : null;
    }

    internal static ImmutableArray<EndpointVerdict> Explain(MeshSnapshot mesh, EndpointQuery query, Func<Service, Workload, string?>? excluded)
    {
        var endpoints = mesh.EndpointsOf(query.Service.Key).Values.Select(workload => (Workload: workload, FellOut: EndpointGroup.FellOut(workload, query, excluded))).ToList();
        var best = endpoints.Where(one => one.FellOut is null).Select(one => EndpointGroup.Rank(one.Workload, query)).DefaultIfEmpty(0).Max();
        return
        [
            .. endpoints
                .Select(one => new EndpointVerdict(
                    one.Workload, one.FellOut ?? (EndpointGroup.Rank(one.Workload, query) < best ? "others are nearer" : one.Workload.Capacity == 0 ? "it has no capacity" : null)))
                .OrderBy(verdict => verdict.FellOut is not null)
                .ThenBy(verdict => verdict.Workload.Uid, StringComparer.Ordinal),
        ];
    }

    /// <summary>The address to use of a workload: the one that was dialled, else one of the allowed families, of the dialled one first (ztunnel §7.4).</summary>
    internal static IPAddress? AddressOf(Workload workload, IPFamilies families, IPAddress destination)
    {
        if (workload.Addresses.Contains(destination))
        {
            return destination;
        }

        IPAddress? other = null;
        foreach (var address in workload.Addresses)
        {
            var allowed = families switch
            {
                IPFamilies.IPv4Only => address.AddressFamily is AddressFamily.InterNetwork,
                IPFamilies.IPv6Only => address.AddressFamily is AddressFamily.InterNetworkV6,
                _ => true,
            };
            if (allowed && address.AddressFamily == destination.AddressFamily)
            {
                return address;
            }

            other ??= allowed ? address : null;
        }

        return other;
    }
}

/// <summary>The endpoints that fit one query best, ready to be chosen from by chance.</summary>
internal sealed class EndpointGroup
{
    public static readonly EndpointGroup Empty = new([]);

    private readonly (Workload Workload, int Port)[] _endpoints;

    // The capacity of each with all before it.
    private readonly long[] _capacityUpTo;

    private EndpointGroup((Workload Workload, int Port)[] endpoints)
    {
        _endpoints = endpoints;
        _capacityUpTo = new long[endpoints.Length];
        var sum = 0L;
        for (var i = 0; i < endpoints.Length; i++)
        {
            sum += endpoints[i].Workload.Capacity;
            _capacityUpTo[i] = sum;
        }
    }

    public static EndpointGroup Of(IEnumerable<Workload> workloads, EndpointQuery query, Func<Service, Workload, string?>? excluded)
    {
        var best = new List<(Workload, int)>();
        var bestRank = 0;
        foreach (var workload in workloads)
        {
            if (FellOut(workload, query, excluded) is not null)
            {
                continue;
            }

            var rank = Rank(workload, query);
            if (rank > bestRank || best.Count == 0)
            {
                best.Clear();
                bestRank = rank;
            }

            if (rank == bestRank)
            {
                best.Add((workload, EndpointSelector.TargetPort(workload, query.Service, query.Port)!.Value));
            }
        }

        return new EndpointGroup([.. best]);
    }

    /// <summary>One of them, by capacity; null when there is none.</summary>
    public (Workload Workload, int Port)? Choose(Random random)
    {
        if (_endpoints.Length == 0 || _capacityUpTo[^1] == 0)
        {
            return null;
        }

        var ticket = random.NextInt64(_capacityUpTo[^1]);
        var index = Array.BinarySearch(_capacityUpTo, ticket + 1);
        if (index < 0)
        {
            return _endpoints[~index];
        }

        // Those without capacity repeat the sum of the one before them.
        while (index > 0 && _capacityUpTo[index - 1] == ticket + 1)
        {
            index--;
        }

        return _endpoints[index];
    }

    /// <summary>Why an endpoint cannot take such a connection; null when it can.</summary>
    public static string? FellOut(Workload workload, EndpointQuery query, Func<Service, Workload, string?>? excluded)
    {
        var service = query.Service;
        if (workload.Status is WorkloadStatus.Unhealthy && service.LoadBalancing.HealthPolicy is HealthPolicy.OnlyHealthy)
        {
            return "it is unhealthy";
        }

        if (workload.Addresses.IsEmpty && workload.Hostname.Length == 0 && (workload.Network == query.Place.Network || workload.NetworkGateway is null))
        {
            return "it has neither an address nor a host name, nor a gateway to another network";
        }

        if (!query.IsWaypoint && !service.Ports.ContainsKey(query.Port))
        {
            return $"the service has no port {query.Port}";
        }

        if (EndpointSelector.TargetPort(workload, service, query.Port) is null)
        {
            return $"it maps port {query.Port} to none of its own";
        }

        if (service.LoadBalancing.Mode is LoadBalancingMode.Strict && Match(workload, query).Matched < service.LoadBalancing.RoutingPreferences.Length)
        {
            return $"it is not of the same {service.LoadBalancing.RoutingPreferences.First(scope => !IsSame(scope, workload, query.Place)).ToString().ToLowerInvariant()}";
        }

        return excluded?.Invoke(service, workload);
    }

    /// <summary>How near an endpoint is (ztunnel §7.3).</summary>
    public static int Rank(Workload candidate, EndpointQuery query)
    {
        if (query.Service.LoadBalancing.Mode is not (LoadBalancingMode.Strict or LoadBalancingMode.Failover))
        {
            return 0;
        }

        var (matched, bonus) = Match(candidate, query);
        return matched + bonus;
    }

    private static (int Matched, int Bonus) Match(Workload candidate, EndpointQuery query)
    {
        var preferences = query.Service.LoadBalancing.RoutingPreferences;
        var matched = 0;
        var bonus = 0;
        for (var i = 0; i < preferences.Length; i++)
        {
            if (IsSame(preferences[i], candidate, query.Place))
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

        return (matched, bonus);
    }

    private static bool IsSame(RoutingScope scope, Workload candidate, SourcePlace source) => scope switch
    {
        RoutingScope.Region => candidate.Locality.Region == source.Locality.Region,
        RoutingScope.Zone => candidate.Locality.Zone == source.Locality.Zone,
        RoutingScope.Subzone => candidate.Locality.Subzone == source.Locality.Subzone,
        RoutingScope.Node => candidate.Node == source.Node,
        RoutingScope.Cluster => candidate.ClusterId == source.ClusterId,
        _ => candidate.Network == source.Network,
    };
}
