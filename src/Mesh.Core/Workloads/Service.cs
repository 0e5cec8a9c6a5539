using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;

namespace Mesh.Core.Workloads;

/// <summary>What a routing preference compares (ztunnel §7.3).</summary>
public enum RoutingScope
{
    /// <summary>The region.</summary>
    Region = 1,

    /// <summary>The zone.</summary>
    Zone = 2,

    /// <summary>The subzone.</summary>
    Subzone = 3,

    /// <summary>The node.</summary>
    Node = 4,

    /// <summary>The cluster.</summary>
    Cluster = 5,

    /// <summary>The network.</summary>
    Network = 6,
}

/// <summary>How endpoints are chosen (ztunnel §7.3).</summary>
public enum LoadBalancingMode
{
    /// <summary>Among all.</summary>
    Standard = 0,

    /// <summary>Only among those that match every preference.</summary>
    Strict = 1,

    /// <summary>Among those that match best.</summary>
    Failover = 2,

    /// <summary>None: the traffic goes where it was addressed, unchanged.</summary>
    Passthrough = 3,
}

/// <summary>Which endpoints may be chosen.</summary>
public enum HealthPolicy
{
    /// <summary>The healthy ones.</summary>
    OnlyHealthy = 0,

    /// <summary>All.</summary>
    AllowAll = 1,
}

/// <summary>The address families of a service.</summary>
public enum IPFamilies
{
    /// <summary>Not restricted.</summary>
    Automatic = 0,

    /// <summary>IPv4 alone.</summary>
    IPv4Only = 1,

    /// <summary>IPv6 alone.</summary>
    IPv6Only = 2,

    /// <summary>Both.</summary>
    Dual = 3,
}

/// <summary>Who can see a service.</summary>
public enum ServiceVisibility
{
    /// <summary>Everybody.</summary>
    Public = 0,

    /// <summary>Its own namespace; for the others it does not exist.</summary>
    Namespace = 1,
}

/// <summary>How a service spreads its load.</summary>
/// <param name="Mode">How endpoints are chosen.</param>
/// <param name="RoutingPreferences">What is compared, most important first.</param>
/// <param name="HealthPolicy">Which endpoints may be chosen.</param>
public sealed record LoadBalancing(LoadBalancingMode Mode, ImmutableArray<RoutingScope> RoutingPreferences, HealthPolicy HealthPolicy)
{
    /// <summary>All healthy endpoints alike.</summary>
    public static readonly LoadBalancing Default = new(LoadBalancingMode.Standard, [], HealthPolicy.OnlyHealthy);
}

/// <summary>A range of VIPs within a network.</summary>
/// <param name="Network">The network's name; empty for the default network.</param>
/// <param name="Range">The addresses.</param>
public readonly record struct NetworkRange(string Network, IPNetwork Range);

/// <summary>A name and virtual addresses that stand for a set of workloads (ztunnel §6.1, message Service).</summary>
public sealed record Service
{
    /// <summary>The Kubernetes name.</summary>
    public required string Name { get; init; }

    /// <summary>The Kubernetes namespace.</summary>
    public required string Namespace { get; init; }

    /// <summary>The full host name, for example <c>cart.shop.svc.cluster.local</c>.</summary>
    public required string Hostname { get; init; }

    /// <summary>The key: namespace and host name.</summary>
    public NamespacedHostname Key => new(Namespace, Hostname);

    /// <summary>Its virtual addresses; none for a headless service.</summary>
    public ImmutableArray<NetworkAddress> Vips { get; init; } = [];

    /// <summary>Its ranges of virtual addresses; an exact address of another service goes first.</summary>
    public ImmutableArray<NetworkRange> CidrVips { get; init; } = [];

    /// <summary>Service port to target port; 0 means that each endpoint has its own.</summary>
    public FrozenDictionary<int, int> Ports { get; init; } = FrozenDictionary<int, int>.Empty;

    /// <summary>Further SPIFFE IDs that its endpoints may have.</summary>
    public ImmutableArray<string> SubjectAltNames { get; init; } = [];

    /// <summary>The waypoint of traffic to the service; null when there is none.</summary>
    public GatewayAddress? Waypoint { get; init; }

    /// <summary>Several waypoints, chosen by weight; goes before <see cref="Waypoint"/> when usable.</summary>
    public ImmutableArray<WeightedWaypoint> WeightedWaypoints { get; init; } = [];

    /// <summary>How the load is spread.</summary>
    public LoadBalancing LoadBalancing { get; init; } = LoadBalancing.Default;

    /// <summary>How clients are to treat it beyond what Istio's ztunnel can do; null for nothing beyond.</summary>
    public L4TrafficPolicy? TrafficPolicy { get; init; }

    /// <summary>The address families.</summary>
    public IPFamilies IPFamilies { get; init; }

    /// <summary>Whether it goes first among services that share an address or name.</summary>
    public bool Canonical { get; init; }

    /// <summary>Who can see it.</summary>
    public ServiceVisibility Visibility { get; init; }
}
