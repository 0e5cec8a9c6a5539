using System.Net;
using Mesh.Core.Workloads;
using Mesh.Xds.Client;

namespace Mesh.Ztunnel.Outbound;

/// <summary>With a control plane that tells only what it is asked (XDS_ON_DEMAND): asks for what the plan of a connection will need (ztunnel §5.4).</summary>
internal sealed class KnownDestination(ProxyContext context)
{
    /// <summary>Waits until the mesh knows who has an address, and the waypoints and gateways on the way there; or knows that nobody has.</summary>
    /// <exception cref="IOException">The control plane has not answered. Who has the address is not known then, and plain text may be the wrong way to it.</exception>
    public async ValueTask EnsureAsync(Workload local, IPEndPoint destination, CancellationToken cancellationToken)
    {
        if (context.OnDemand is null)
        {
            return;
        }

        var address = new NetworkAddress(local.Network, destination.Address);
        if (!IsKnown(address) && await DemandAsync(address.ToString(), cancellationToken) is XdsDemand.Found && !IsKnown(address))
        {
            throw new IOException($"the control plane has said that there is {address}, and not what");
        }

        foreach (var gateway in Gateways(context.State.Current, local, address))
        {
            if (gateway.Address is { } at ? !IsKnown(at) : !IsKnown(gateway.Hostname!.Value))
            {
                await DemandAsync(gateway.ToString(), cancellationToken);
            }
        }
    }

    private bool IsKnown(NetworkAddress address)
    {
        var mesh = context.State.Current;
        return mesh.FindWorkload(address) is not null || mesh.ServicesAt(address).Count > 0;
    }

    private bool IsKnown(NamespacedHostname hostname)
    {
        var mesh = context.State.Current;
        return mesh.FindService(hostname) is not null || mesh.FindWorkload(hostname) is not null;
    }

    private static HashSet<GatewayAddress> Gateways(MeshSnapshot mesh, Workload local, NetworkAddress address)
    {
        var gateways = new HashSet<GatewayAddress>();
        Add(mesh.FindWorkload(address)?.Waypoint);
        if (mesh.FindService(address, local.Namespace) is { } service)
        {
            Add(service.Waypoint);
            gateways.UnionWith(service.WeightedWaypoints.Select(waypoint => waypoint.Destination));
            foreach (var endpoint in mesh.EndpointsOf(service.Key).Values)
            {
                Add(endpoint.Network == local.Network ? null : endpoint.NetworkGateway);
            }
        }

        return gateways;

        void Add(GatewayAddress? gateway)
        {
            if (gateway is not null)
            {
                gateways.Add(gateway);
            }
        }
    }

    private async ValueTask<XdsDemand> DemandAsync(string name, CancellationToken cancellationToken)
    {
        var answer = await context.OnDemand!.DemandAsync(name, cancellationToken);
        return answer is XdsDemand.Unanswered ? throw new IOException($"the control plane has not said in time what {name} is") : answer;
    }
}
