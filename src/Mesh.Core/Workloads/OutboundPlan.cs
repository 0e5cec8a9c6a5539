using System.Collections.Immutable;
using System.Net;
using System.Text;
using Mesh.Core.Identity;

namespace Mesh.Core.Workloads;

/// <summary>What is to be done with an outbound connection, and why (ztunnel §7).</summary>
/// <param name="Why">The reason, in words: which record, which rule.</param>
public abstract record OutboundPlan(string Why)
{
    /// <summary>The last choice among endpoints that was made on the way; null when none was.</summary>
    public EndpointChoice? Choice { get; init; }

    /// <summary>The whole explanation, a line for each thing: the reason, then what became of each endpoint. Costs as much as there are endpoints.</summary>
    public string Explain()
    {
        var text = new StringBuilder(Why);
        foreach (var verdict in Choice?.Endpoints ?? [])
        {
            text.Append('\n').Append("  ").Append(verdict.Workload.Uid).Append(": ").Append(verdict.FellOut ?? "may be chosen");
        }

        return text.ToString();
    }

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

    /// <summary>Carry it in a tunnel within a tunnel, through the gateway of another network (ztunnel §2.10, §7.5).</summary>
    /// <param name="NextHop">The address of the gateway's HBONE server.</param>
    /// <param name="GatewayPeers">The identities that the gateway may have.</param>
    /// <param name="Authority">The target to name, to the gateway and behind it: the service's host name and port.</param>
    /// <param name="Peers">The identities that the server behind the gateway may have: those that the service names, and no other.</param>
    /// <param name="Workload">The gateway.</param>
    /// <param name="Service">The service that was addressed.</param>
    /// <param name="Capacity">How many servers there are behind the gateway, as far as is known.</param>
    /// <param name="Why">The reason.</param>
    public sealed record DoubleHbone(
        IPEndPoint NextHop, ImmutableArray<SpiffeId> GatewayPeers, string Authority, ImmutableArray<SpiffeId> Peers, Workload Workload, Service Service, int Capacity, string Why)
        : OutboundPlan(Why);

    /// <summary>Resolve a host name first: the workload at the next hop has no address (ztunnel §7.4).</summary>
    /// <param name="Hostname">The host name.</param>
    /// <param name="Workload">The workload that it belongs to.</param>
    /// <param name="Service">The service that was addressed; null when a workload was.</param>
    /// <param name="With">The plan, once the address is known.</param>
    /// <param name="Why">The reason.</param>
    public sealed record Unresolved(string Hostname, Workload Workload, Service? Service, Func<IPAddress, OutboundPlan> With, string Why) : OutboundPlan(Why);

    /// <summary>Do not carry it.</summary>
    /// <param name="Service">The service that was addressed; null when none was.</param>
    /// <param name="Why">The reason.</param>
    public sealed record Refused(Service? Service, string Why) : OutboundPlan(Why)
    {
        /// <summary>Whether the proxy was to call itself.</summary>
        public bool IsRecursive { get; init; }
    }
}
