using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;

namespace Mesh.Core.Workloads;

/// <summary>What is to be done with an outbound connection, and why (ztunnel §7).</summary>
/// <param name="Why">The reason, in words: which record, which rule.</param>
public abstract record OutboundPlan(string Why)
{
    /// <summary>Carry it as it is to where it was addressed: the mesh does not know the destination.</summary>
    /// <param name="Destination">Where to.</param>
    /// <param name="Why">The reason.</param>
    public sealed record Passthrough(IPEndPoint Destination, string Why) : OutboundPlan(Why);

    /// <summary>Carry it as plain TCP to a workload that does not take HBONE.</summary>
    /// <param name="Destination">Where to.</param>
    /// <param name="Workload">The workload.</param>
    /// <param name="Service">The service that was addressed; null when the workload was.</param>
    /// <param name="Why">The reason.</param>
    public sealed record Tcp(IPEndPoint Destination, Workload Workload, Service? Service, string Why) : OutboundPlan(Why);

    /// <summary>Carry it in a tunnel.</summary>
    /// <param name="NextHop">The address of the HBONE server.</param>
    /// <param name="Authority">The target to name.</param>
    /// <param name="Peers">The identities that the server may have.</param>
    /// <param name="Workload">The workload at the next hop: the endpoint, or a waypoint.</param>
    /// <param name="Service">The service that was addressed; null when a workload was.</param>
    /// <param name="Why">The reason.</param>
    public sealed record Hbone(IPEndPoint NextHop, string Authority, ImmutableArray<SpiffeId> Peers, Workload Workload, Service? Service, string Why) : OutboundPlan(Why);

    /// <summary>Do not carry it.</summary>
    /// <param name="Service">The service that was addressed; null when none was.</param>
    /// <param name="Why">The reason.</param>
    public sealed record Refused(Service? Service, string Why) : OutboundPlan(Why);
}
