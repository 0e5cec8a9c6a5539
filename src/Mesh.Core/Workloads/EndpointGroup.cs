namespace Mesh.Core.Workloads;

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
