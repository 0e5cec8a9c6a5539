using System.Collections.Immutable;
using Mesh.Core.Policy;

namespace Mesh.Core.Workloads;

/// <summary>What a mesh is at one moment: workloads, services, policies. Immutable; take it once per connection and keep it.</summary>
public sealed class MeshSnapshot
{
    /// <summary>A mesh with nothing in it.</summary>
    public static readonly MeshSnapshot Empty = new();

    internal ImmutableDictionary<string, Workload> WorkloadsByUid { get; init; } = ImmutableDictionary<string, Workload>.Empty;

    // UIDs, not workloads: most changes leave what a workload is found by as it is, and then these.
    internal ImmutableDictionary<NetworkAddress, ImmutableArray<string>> UidsByAddress { get; init; } = ImmutableDictionary<NetworkAddress, ImmutableArray<string>>.Empty;

    internal ImmutableDictionary<WorkloadName, ImmutableArray<string>> UidsByName { get; init; } = ImmutableDictionary<WorkloadName, ImmutableArray<string>>.Empty;

    internal ImmutableDictionary<NamespacedHostname, ImmutableArray<string>> UidsByHostname { get; init; } = ImmutableDictionary<NamespacedHostname, ImmutableArray<string>>.Empty;

    internal ImmutableDictionary<NamespacedHostname, ServiceEndpoints> Endpoints { get; init; } = ImmutableDictionary<NamespacedHostname, ServiceEndpoints>.Empty;

    internal ImmutableDictionary<NamespacedHostname, Service> ServicesByKey { get; init; } = ImmutableDictionary<NamespacedHostname, Service>.Empty;

    internal ImmutableDictionary<NetworkAddress, ImmutableArray<Service>> ServicesByVip { get; init; } = ImmutableDictionary<NetworkAddress, ImmutableArray<Service>>.Empty;

    internal ImmutableDictionary<string, ImmutableArray<Service>> ServicesByHostname { get; init; } =
        ImmutableDictionary.Create<string, ImmutableArray<Service>>(StringComparer.OrdinalIgnoreCase);

    // By network.
    internal ImmutableDictionary<string, PrefixTree<Service>> ServicesByRange { get; init; } = ImmutableDictionary<string, PrefixTree<Service>>.Empty;

    /// <summary>All workloads, in no particular order.</summary>
    public IEnumerable<Workload> Workloads => WorkloadsByUid.Values;

    /// <summary>All services, in no particular order.</summary>
    public IEnumerable<Service> Services => ServicesByKey.Values;

    /// <summary>How many workloads there are.</summary>
    public int WorkloadCount => WorkloadsByUid.Count;

    /// <summary>How many services there are.</summary>
    public int ServiceCount => ServicesByKey.Count;

    /// <summary>The L4 authorization policies, compiled.</summary>
    public L4PolicySet Policies { get; internal init; } = L4PolicySet.Empty;

    /// <summary>The workload with a UID; null when there is none.</summary>
    public Workload? FindWorkload(string uid) => WorkloadsByUid.GetValueOrDefault(uid);

    /// <summary>The workload that owns an address; null when there is none. Of several, pods go first, then those that take HBONE (ztunnel §5.8), then the order of UIDs.</summary>
    /// <remarks>Workloads on the host's network do not own their addresses and are not found.</remarks>
    public Workload? FindWorkload(NetworkAddress address) => First(UidsByAddress.GetValueOrDefault(address));

    /// <summary>The workload with a host name of its own; null when there is none.</summary>
    public Workload? FindWorkload(NamespacedHostname hostname) => First(UidsByHostname.GetValueOrDefault(hostname));

    /// <summary>The workload of a pod, by what its node knows of it; null when there is none (ztunnel §0).</summary>
    /// <param name="ns">The Kubernetes namespace.</param>
    /// <param name="name">The pod's name.</param>
    /// <param name="serviceAccount">The Kubernetes service account.</param>
    /// <param name="node">The node that it must run on; null for any.</param>
    public Workload? FindWorkload(string ns, string name, string serviceAccount, string? node)
    {
        if (!UidsByName.TryGetValue(new WorkloadName(ns, name), out var uids))
        {
            return null;
        }

        foreach (var uid in uids)
        {
            var candidate = WorkloadsByUid[uid];
            if (candidate.ServiceAccount == serviceAccount && (node is null || candidate.Node == node))
            {
                return candidate;
            }
        }

        return null;
    }

    /// <summary>The service with a key; null when there is none.</summary>
    public Service? FindService(NamespacedHostname key) => ServicesByKey.GetValueOrDefault(key);

    /// <summary>The service that a client means by a virtual address; null when there is none that it can see (ztunnel §5.9).</summary>
    /// <remarks>An exact address goes before a range. The client's own namespace goes first; then, for ranges, the longer prefix; then the canonical service.</remarks>
    public Service? FindService(NetworkAddress vip, string clientNamespace)
    {
        if (Best(ServicesByVip.GetValueOrDefault(vip), clientNamespace) is { } exact)
        {
            return exact;
        }

        if (!ServicesByRange.TryGetValue(vip.Network, out var ranges))
        {
            return null;
        }

        Service? best = null;
        var bestRank = (false, -1, false);
        foreach (var (service, length) in ranges.Covering(vip.Address))
        {
            var rank = (service.Namespace == clientNamespace, length, service.Canonical);
            if (IsVisible(service, clientNamespace) && (best is null || rank.CompareTo(bestRank) > 0))
            {
                best = service;
                bestRank = rank;
            }
        }

        return best;
    }

    /// <summary>The services that have a virtual address, by itself or else in a range, whoever can see them; several namespaces may have one each.</summary>
    public IReadOnlyList<Service> ServicesAt(NetworkAddress vip) =>
        ServicesByVip.TryGetValue(vip, out var exact) ? exact
        : ServicesByRange.TryGetValue(vip.Network, out var ranges) ? [.. ranges.Covering(vip.Address).Select(covering => covering.Value)] : [];

    /// <summary>The service that a client means by a host name, in any case of letters; null when there is none that it can see (ztunnel §5.9).</summary>
    public Service? FindServiceByHostname(string hostname, string clientNamespace) =>
        Best(ServicesByHostname.GetValueOrDefault(hostname), clientNamespace);

    /// <summary>All services with a host name, in any case of letters, that a client can see; one for each namespace, in the order in which they came.</summary>
    public IReadOnlyList<Service> FindServicesByHostname(string hostname, string clientNamespace)
    {
        var services = ServicesByHostname.GetValueOrDefault(hostname, []);
        return services.RemoveAll(service => !IsVisible(service, clientNamespace));
    }

    /// <summary>The workloads behind a service, by UID; healthy or not.</summary>
    public IReadOnlyDictionary<string, Workload> EndpointsOf(NamespacedHostname service) =>
        Endpoints.GetValueOrDefault(service, ServiceEndpoints.None).ByUid;

    /// <summary>The workloads behind a reference to a waypoint or network gateway; none when it leads nowhere.</summary>
    /// <param name="reference">The reference.</param>
    /// <param name="clientNamespace">The namespace of who asks, by which a service is chosen among those that share an address.</param>
    public IEnumerable<Workload> WorkloadsBehind(GatewayAddress reference, string clientNamespace)
    {
        ArgumentNullException.ThrowIfNull(reference);
        var (workload, service) = Find(reference, clientNamespace);
        return service is not null ? EndpointsOf(service.Key).Values : workload is not null ? [workload] : [];
    }

    /// <summary>What a reference means. By name a service goes first, by address a workload (ztunnel §7.4).</summary>
    internal (Workload? Workload, Service? Service) Find(GatewayAddress reference, string clientNamespace)
    {
        if (reference.Hostname is { } hostname)
        {
            return FindService(hostname) is { } named ? (null, named) : (FindWorkload(hostname), null);
        }

        var address = reference.Address!.Value;
        return FindWorkload(address) is { } workload ? (workload, null) : (null, FindService(address, clientNamespace));
    }

    private Workload? First(ImmutableArray<string> uids) => uids.IsDefaultOrEmpty ? null : WorkloadsByUid[uids[0]];

    private static Service? Best(ImmutableArray<Service> candidates, string clientNamespace)
    {
        if (candidates.IsDefaultOrEmpty)
        {
            return null;
        }

        Service? best = null;
        foreach (var service in candidates)
        {
            if (!IsVisible(service, clientNamespace))
            {
                continue;
            }

            if (service.Namespace == clientNamespace)
            {
                return service;
            }

            best = best is null || (service.Canonical && !best.Canonical) ? service : best;
        }

        return best;
    }

    private static bool IsVisible(Service service, string clientNamespace) =>
        service.Visibility is ServiceVisibility.Public || service.Namespace == clientNamespace;
}

/// <summary>What a node knows a pod by.</summary>
internal readonly record struct WorkloadName(string Namespace, string Name);
