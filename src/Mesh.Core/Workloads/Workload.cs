using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;

namespace Mesh.Core.Workloads;

/// <summary>How a workload takes traffic.</summary>
public enum TunnelProtocol
{
    /// <summary>Plain TCP: it is not in the mesh.</summary>
    None = 0,

    /// <summary>HBONE on port 15008.</summary>
    Hbone = 1,
}

/// <summary>Whether a workload's addresses are its own.</summary>
public enum NetworkMode
{
    /// <summary>They are.</summary>
    Standard = 0,

    /// <summary>They are those of its node: traffic to them is not traffic to the workload.</summary>
    HostNetwork = 1,
}

/// <summary>Whether a workload may be chosen as an endpoint.</summary>
public enum WorkloadStatus
{
    /// <summary>It may.</summary>
    Healthy = 0,

    /// <summary>It may not, unless the service's health policy allows all.</summary>
    Unhealthy = 1,
}

/// <summary>The kind of the controller that made a workload; used in telemetry.</summary>
public enum WorkloadType
{
    /// <summary>A Deployment or the like.</summary>
    Deployment = 0,

    /// <summary>A CronJob.</summary>
    CronJob = 1,

    /// <summary>A pod on its own.</summary>
    Pod = 2,

    /// <summary>A Job.</summary>
    Job = 3,
}

/// <summary>How the inbound proxy hands a connection to the application.</summary>
public enum ApplicationTunnelProtocol
{
    /// <summary>As plain bytes.</summary>
    None = 0,

    /// <summary>Preceded by a PROXY protocol header.</summary>
    Proxy = 1,
}

/// <summary>Overrides how inbound connections reach the application (ztunnel §8.2).</summary>
/// <param name="Protocol">What precedes the bytes.</param>
/// <param name="Port">The port to connect to; null keeps that of the request.</param>
public sealed record ApplicationTunnel(ApplicationTunnelProtocol Protocol, int? Port);

/// <summary>Where a workload runs; empty parts are unknown.</summary>
/// <param name="Region">The region.</param>
/// <param name="Zone">The zone within the region.</param>
/// <param name="Subzone">The subzone within the zone.</param>
public sealed record Locality(string Region = "", string Zone = "", string Subzone = "")
{
    /// <summary>Nothing is known.</summary>
    public static readonly Locality Unknown = new();
}

/// <summary>One instance of an application: a pod, usually (ztunnel §6.1, message Workload).</summary>
public sealed record Workload
{
    private const string DefaultServiceAccount = "default";

    /// <summary>The key: unique over the whole mesh.</summary>
    public required string Uid { get; init; }

    /// <summary>The pod's name.</summary>
    public string Name { get; init; } = "";

    /// <summary>The Kubernetes namespace.</summary>
    public required string Namespace { get; init; }

    /// <summary>The trust domain of its identity. Default <c>cluster.local</c>.</summary>
    public TrustDomain TrustDomain { get; init; } = TrustDomain.ClusterLocal;

    /// <summary>The Kubernetes service account. Default <c>default</c>.</summary>
    public string ServiceAccount { get; init; } = DefaultServiceAccount;

    /// <summary>Its addresses; may be empty.</summary>
    public ImmutableArray<IPAddress> Addresses { get; init; } = [];

    /// <summary>The network of its addresses; empty for the default network.</summary>
    public string Network { get; init; } = "";

    /// <summary>How it takes traffic.</summary>
    public TunnelProtocol Protocol { get; init; }

    /// <summary>Whether its addresses are its own.</summary>
    public NetworkMode NetworkMode { get; init; }

    /// <summary>Whether it may be chosen as an endpoint.</summary>
    public WorkloadStatus Status { get; init; }

    /// <summary>The waypoint of traffic that is addressed to the workload itself; null when there is none.</summary>
    public GatewayAddress? Waypoint { get; init; }

    /// <summary>The gateway by which it is reached from other networks; null when there is none.</summary>
    public GatewayAddress? NetworkGateway { get; init; }

    /// <summary>The node that it runs on.</summary>
    public string Node { get; init; } = "";

    /// <summary>The application's name in telemetry.</summary>
    public string CanonicalName { get; init; } = "";

    /// <summary>The application's version in telemetry.</summary>
    public string CanonicalRevision { get; init; } = "";

    /// <summary>The kind of its controller.</summary>
    public WorkloadType WorkloadType { get; init; }

    /// <summary>The name of its controller.</summary>
    public string WorkloadName { get; init; } = "";

    /// <summary>Whether the application itself speaks HBONE.</summary>
    public bool NativeTunnel { get; init; }

    /// <summary>The host name to resolve when there are no addresses.</summary>
    public string Hostname { get; init; } = "";

    /// <summary>The cluster that it belongs to. Default <c>Kubernetes</c>.</summary>
    public string ClusterId { get; init; } = "Kubernetes";

    /// <summary>Where it runs.</summary>
    public Locality Locality { get; init; } = Locality.Unknown;

    /// <summary>An override of inbound delivery; null when there is none.</summary>
    public ApplicationTunnel? ApplicationTunnel { get; init; }

    /// <summary>Its weight among the endpoints of a service. Default 1.</summary>
    public uint Capacity { get; init; } = 1;

    /// <summary>The names, <c>namespace/name</c>, of the selector policies that apply to it.</summary>
    public ImmutableArray<string> AuthorizationPolicies { get; init; } = [];

    /// <summary>The services that it is an endpoint of, each with its own service port to target port map.</summary>
    public ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>> Services { get; init; } =
        ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty;

    /// <summary>The identity that its certificate proves.</summary>
    /// <exception cref="FormatException">Namespace or service account cannot stand in a SPIFFE ID.</exception>
    public SpiffeId Identity => SpiffeId.ForServiceAccount(TrustDomain, Namespace, ServiceAccount.Length == 0 ? DefaultServiceAccount : ServiceAccount);
}
