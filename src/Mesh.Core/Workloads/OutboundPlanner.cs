using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;

namespace Mesh.Core.Workloads;

/// <summary>Decides what is to be done with an outbound connection (ztunnel §7.1). Pure but for the randomness, which the caller brings.</summary>
/// <remarks>
/// The order: a service by its virtual address goes to its waypoint, or to one of its endpoints; a workload by its own address goes to its
/// waypoint, or to itself; what the mesh does not know is passed through. What the mesh does know but cannot reach is refused, never passed through.
/// </remarks>
/// <param name="hbonePort">The port of HBONE at workloads.</param>
/// <param name="isIllegalPort">Ports of the proxy itself.</param>
public sealed class OutboundPlanner(int hbonePort, Func<int, bool> isIllegalPort)
{
    /// <summary>Decides on one connection.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="source">The workload that connects.</param>
    /// <param name="sourceAddress">The address that it connects from.</param>
    /// <param name="destination">Where it means to go.</param>
    /// <param name="random">The randomness, for endpoints and weighted waypoints.</param>
    public OutboundPlan Plan(MeshSnapshot mesh, Workload source, IPAddress sourceAddress, IPEndPoint destination, Random random)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(sourceAddress);
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(random);
        destination = NetworkAddress.Canonical(destination);
        if (isIllegalPort(destination.Port) && (IPAddress.IsLoopback(destination.Address) || destination.Address.Equals(sourceAddress)))
        {
            return new OutboundPlan.Refused(null, $"attempted recursive call to ourselves: {destination} is a port of the proxy");
        }

        var address = new NetworkAddress(source.Network, destination.Address);
        var workload = mesh.FindWorkload(address);
        if (mesh.FindService(address, source.Namespace) is { } service)
        {
            // Where a workload has the address too, the service's waypoint is not meant (ztunnel §7.1 step 3), but its endpoints are (step 4).
            return ToService(mesh, source, destination, destination.ToString(), service, workload is null ? WaypointOf(service, random) : null, random);
        }

        return workload is null
            ? new OutboundPlan.Passthrough(destination, $"neither a service nor a workload of the mesh has the address {address}")
            : ToWorkload(mesh, source, sourceAddress, destination, workload, random);
    }

    /// <summary>Decides on one connection to a host name. Null when the mesh has no service of that name that the source can see.</summary>
    /// <remarks>For those that connect by name, without DNS and a virtual address between. A waypoint gets the name.</remarks>
    /// <param name="mesh">The mesh.</param>
    /// <param name="source">The workload that connects.</param>
    /// <param name="hostname">The name of a service.</param>
    /// <param name="port">The service's port.</param>
    /// <param name="random">The randomness, for endpoints and weighted waypoints.</param>
    public OutboundPlan? Plan(MeshSnapshot mesh, Workload source, string hostname, int port, Random random)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(hostname);
        ArgumentNullException.ThrowIfNull(random);
        if (mesh.FindServiceByHostname(hostname, source.Namespace) is not { } service)
        {
            return null;
        }

        // The address decides the family only.
        var address = service.Vips.FirstOrDefault(vip => vip.Network == source.Network).Address ?? IPAddress.Any;
        return ToService(mesh, source, new IPEndPoint(address, port), $"{service.Hostname}:{port}", service, WaypointOf(service, random), random);
    }

    private OutboundPlan ToService(MeshSnapshot mesh, Workload source, IPEndPoint destination, string authority, Service service, GatewayAddress? waypoint, Random random)
    {
        if (waypoint is not null)
        {
            return ToGateway(mesh, source, destination, authority, waypoint, service, $"the waypoint of service {service.Key}", random);
        }

        if (service.LoadBalancing.Mode is LoadBalancingMode.Passthrough)
        {
            return new OutboundPlan.Passthrough(destination, $"service {service.Key} is load-balanced by passthrough");
        }

        if (EndpointSelector.Select(mesh, service, destination.Port, source, destination.Address, random) is not { } endpoint)
        {
            return new OutboundPlan.Refused(
                service,
                service.Ports.ContainsKey(destination.Port)
                    ? $"no healthy upstream: none of the {mesh.EndpointsOf(service.Key).Count} endpoints of service {service.Key} can take port {destination.Port}"
                    : $"no healthy upstream: service {service.Key} has no port {destination.Port}; it has {string.Join(", ", service.Ports.Keys.Order())}");
        }

        if (endpoint.Workload.Network != source.Network)
        {
            return new OutboundPlan.Refused(service, $"endpoint {endpoint.Workload.Uid} is on network '{endpoint.Workload.Network}'; other networks cannot be reached");
        }

        return endpoint.Address is null
            ? new OutboundPlan.Refused(service, $"endpoint {endpoint.Workload.Uid} of service {service.Key} has no address")
            : Direct(endpoint.Workload, new IPEndPoint(endpoint.Address, endpoint.Port), service, $"an endpoint of service {service.Key}");
    }

    private OutboundPlan ToWorkload(MeshSnapshot mesh, Workload source, IPAddress sourceAddress, IPEndPoint destination, Workload workload, Random random)
    {
        if (workload.Waypoint is not { } waypoint || IsWaypoint(mesh, source, sourceAddress, waypoint))
        {
            return Direct(workload, destination, null, "the workload that was addressed");
        }

        return ToGateway(mesh, source, destination, destination.ToString(), waypoint, null, $"the waypoint of workload {workload.Uid}", random);
    }

    private OutboundPlan Direct(Workload workload, IPEndPoint target, Service? service, string what)
    {
        if (workload.Protocol is not TunnelProtocol.Hbone)
        {
            return new OutboundPlan.Tcp(target, workload, service, $"{workload.Uid}, {what}, does not take HBONE");
        }

        return new OutboundPlan.Hbone(
            new IPEndPoint(target.Address, hbonePort), target.ToString(), Peers(service, workload), workload, service, $"{workload.Uid}, {what}, takes HBONE");
    }

    // The waypoint gets the target as the client dialled it. A reference that leads nowhere is an error: going round the waypoint would go round its policies.
    private static OutboundPlan ToGateway(
        MeshSnapshot mesh, Workload source, IPEndPoint destination, string authority, GatewayAddress gateway, Service? service, string what, Random random)
    {
        var (workload, address, port, gatewayService) = Resolve(mesh, source, destination.Address, gateway, random);
        if (workload is null || address is null)
        {
            return new OutboundPlan.Refused(service, $"{what}, {gateway}, cannot be reached: unknown, or without a healthy endpoint");
        }

        return workload.Network != source.Network
            ? new OutboundPlan.Refused(service, $"{what}, {workload.Uid}, is on network '{workload.Network}'; other networks cannot be reached")
            : new OutboundPlan.Hbone(
                new IPEndPoint(address, port), authority, Peers(gatewayService, workload), workload, service, $"{workload.Uid} is {what}");
    }

    private static (Workload? Workload, IPAddress? Address, int Port, Service? Service) Resolve(
        MeshSnapshot mesh, Workload source, IPAddress destination, GatewayAddress gateway, Random random)
    {
        Service? service = null;
        Workload? workload = null;
        var family = destination;
        if (gateway.Hostname is { } hostname)
        {
            service = mesh.FindService(hostname);
            workload = service is null ? mesh.FindWorkload(hostname) : null;
        }
        else if (gateway.Address is { } address)
        {
            workload = mesh.FindWorkload(address);
            service = workload is null ? mesh.FindService(address, source.Namespace) : null;
            family = address.Address;
        }

        if (service is null)
        {
            var own = workload?.Addresses.FirstOrDefault(candidate => candidate.Equals(family))
                ?? workload?.Addresses.FirstOrDefault(candidate => candidate.AddressFamily == family.AddressFamily)
                ?? workload?.Addresses.FirstOrDefault();
            return (workload, own, gateway.HboneMtlsPort, null);
        }

        var endpoint = EndpointSelector.Select(mesh, service, gateway.HboneMtlsPort, source, family, random);
        return (endpoint?.Workload, endpoint?.Address, endpoint?.Port ?? 0, service);
    }

    private static GatewayAddress? WaypointOf(Service service, Random random)
    {
        var total = service.WeightedWaypoints.Sum(waypoint => (long)waypoint.Weight);
        if (total == 0)
        {
            return service.Waypoint;
        }

        var ticket = random.NextInt64(total);
        foreach (var waypoint in service.WeightedWaypoints)
        {
            ticket -= waypoint.Weight;
            if (ticket < 0)
            {
                return waypoint.Destination;
            }
        }

        return service.WeightedWaypoints[^1].Destination;
    }

    // ztunnel §7.1 step 6: a waypoint's own traffic to the workloads behind it must not come back to it.
    private static bool IsWaypoint(MeshSnapshot mesh, Workload source, IPAddress sourceAddress, GatewayAddress waypoint)
    {
        IEnumerable<Workload> candidates = waypoint switch
        {
            { Hostname: { } hostname } when mesh.FindService(hostname) is { } service => mesh.EndpointsOf(service.Key).Values,
            { Hostname: { } hostname } => mesh.FindWorkload(hostname) is { } named ? [named] : [],
            { Address: { } address } when mesh.FindWorkload(address) is { } owner => [owner],
            { Address: { } address } when mesh.FindService(address, source.Namespace) is { } service => mesh.EndpointsOf(service.Key).Values,
            _ => [],
        };
        return candidates.Any(candidate => candidate.Identity == source.Identity && candidate.Addresses.Contains(sourceAddress));
    }

    private static ImmutableArray<SpiffeId> Peers(Service? service, Workload workload)
    {
        var peers = ImmutableArray.CreateBuilder<SpiffeId>();
        foreach (var name in service?.SubjectAltNames ?? [])
        {
            if (SpiffeId.TryParse(name, out var id, out _))
            {
                peers.Add(id);
            }
        }

        peers.Add(workload.Identity);
        return peers.ToImmutable();
    }
}
