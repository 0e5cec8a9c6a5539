using Mesh.Core.Workloads;

namespace Mesh.Xds.Workloads;

/// <summary>A resource of the type <c>istio.workload.Address</c>: a workload or a service.</summary>
/// <param name="Workload">The workload; null when it is a service.</param>
/// <param name="Service">The service; null when it is a workload.</param>
public sealed record MeshAddress(Workload? Workload, Service? Service)
{
    /// <summary>The names by which it can be asked for, besides that of the resource (ztunnel §5.4): <c>network/IP</c> of each of its addresses, and a workload's own host name.</summary>
    public IEnumerable<string> Names => Workload is { NetworkMode: NetworkMode.Standard } workload
        ? workload.Addresses.Select(address => new NetworkAddress(workload.Network, address).ToString()).Concat(workload.Hostname.Length == 0 ? [] : [$"{workload.Namespace}/{workload.Hostname}"])
        : Service?.Vips.Select(vip => vip.ToString()) ?? [];
}
