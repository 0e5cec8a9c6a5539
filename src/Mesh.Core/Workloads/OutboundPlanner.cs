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
/// <param name="aliases">Other names of the source's trust domain; null for none.</param>
public sealed class OutboundPlanner(int hbonePort, Func<int, bool> isIllegalPort, TrustDomainAliases? aliases = null)
{
    private readonly TrustDomainAliases _aliases = aliases ?? TrustDomainAliases.None;

    /// <summary>Decides on one connection.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="source">The workload that connects.</param>
    /// <param name="sourceAddress">The address that it connects from.</param>
    /// <param name="destination">Where it means to go.</param>
    /// <param name="random">The randomness, for endpoints and weighted waypoints.</param>
    /// <param name="excluded">Says of an endpoint of a service why it must not be chosen now, or null; null to exclude none.</param>
    public OutboundPlan Plan(
        MeshSnapshot mesh, Workload source, IPAddress sourceAddress, IPEndPoint destination, Random random, Func<Service, Workload, string?>? excluded = null)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(sourceAddress);
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(random);
        destination = NetworkAddress.Canonical(destination);
        if (isIllegalPort(destination.Port) && (IPAddress.IsLoopback(destination.Address) || destination.Address.Equals(sourceAddress)))
        {
            return new OutboundPlan.Refused(null, $"attempted recursive call to ourselves: {destination} is a port of the proxy") { IsRecursive = true };
        }

        var address = new NetworkAddress(source.Network, destination.Address);
        var workload = mesh.FindWorkload(address);
        var request = new Request(mesh, source, destination, destination.ToString(), random, excluded);
        if (mesh.FindService(address, source.Namespace) is { } service)
        {
            // Where a workload has the address too, the service's waypoint is not meant (ztunnel §7.1 step 3), but its endpoints are (step 4).
            return workload is null
                ? ToService(request, service, WaypointOf(service, random))
                : ToEndpointOf(request, service, sourceAddress) ?? ToWorkload(request, sourceAddress, workload);
        }

        return workload is null
            ? new OutboundPlan.Passthrough(destination, $"neither a service nor a workload of the mesh has the address {address}")
            : ToWorkload(request, sourceAddress, workload);
    }

    /// <summary>Decides on one connection to a host name. Null when the mesh has no service of that name that the source can see.</summary>
    /// <remarks>For those that connect by name, without DNS and a virtual address between. A waypoint gets the name.</remarks>
    /// <param name="mesh">The mesh.</param>
    /// <param name="source">The workload that connects.</param>
    /// <param name="hostname">The name of a service.</param>
    /// <param name="port">The service's port.</param>
    /// <param name="random">The randomness, for endpoints and weighted waypoints.</param>
    /// <param name="excluded">Says of an endpoint of a service why it must not be chosen now, or null; null to exclude none.</param>
    public OutboundPlan? Plan(MeshSnapshot mesh, Workload source, string hostname, int port, Random random, Func<Service, Workload, string?>? excluded = null)
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
        return ToService(new Request(mesh, source, new IPEndPoint(address, port), $"{service.Hostname}:{port}", random, excluded), service, WaypointOf(service, random));
    }

    private OutboundPlan ToService(Request request, Service service, GatewayAddress? waypoint)
    {
        var (mesh, source, destination) = (request.Mesh, request.Source, request.Destination);
        if (waypoint is not null)
        {
            return ToWaypoint(request, waypoint, service, $"the waypoint of service {service.Key}");
        }

        if (service.LoadBalancing.Mode is LoadBalancingMode.Passthrough)
        {
            return new OutboundPlan.Passthrough(destination, $"service {service.Key} is load-balanced by passthrough");
        }

        var choice = request.Choice(service, destination.Port, isWaypoint: false);
        if (request.Select(service, destination.Port, isWaypoint: false, destination.Address) is not { } endpoint)
        {
            return new OutboundPlan.Refused(
                service,
                service.Ports.ContainsKey(destination.Port)
                    ? $"no healthy upstream: none of the {mesh.EndpointsOf(service.Key).Count} endpoints of service {service.Key} can take port {destination.Port}"
                    : $"no healthy upstream: service {service.Key} has no port {destination.Port}; it has {string.Join(", ", service.Ports.Keys.Order())}")
            { Choice = choice };
        }

        if (endpoint.Workload.Network != source.Network)
        {
            return ToOtherNetwork(request, endpoint.Workload, service, service, $"endpoint {endpoint.Workload.Uid} of service {service.Key}") with { Choice = choice };
        }

        return Direct(endpoint.Workload, endpoint.Address, endpoint.Port, service, $"an endpoint of service {service.Key}") with { Choice = choice };
    }

    // Not addressed as a service, so the waypoint of the endpoint is what counts (ztunnel §7.1 step 6).
    private OutboundPlan? ToEndpointOf(Request request, Service service, IPAddress sourceAddress)
    {
        var port = request.Destination.Port;
        if (request.Select(service, port, isWaypoint: false, request.Destination.Address) is not { } endpoint || endpoint.Workload.Network != request.Source.Network)
        {
            return null;
        }

        var what = $"an endpoint of service {service.Key}, whose address is a workload's too";
        return (endpoint.Workload.Waypoint is { } waypoint && !IsWaypoint(request.Mesh, request.Source, sourceAddress, waypoint)
            ? ToWaypoint(request, waypoint, null, $"the waypoint of workload {endpoint.Workload.Uid}")
            : Direct(endpoint.Workload, endpoint.Address, endpoint.Port, service, what)) with
        { Choice = request.Choice(service, port, isWaypoint: false) };
    }

    private OutboundPlan ToWorkload(Request request, IPAddress sourceAddress, Workload workload)
    {
        if (workload.Waypoint is not { } waypoint || IsWaypoint(request.Mesh, request.Source, sourceAddress, waypoint))
        {
            return Direct(workload, request.Destination.Address, request.Destination.Port, null, "the workload that was addressed");
        }

        return ToWaypoint(request, waypoint, null, $"the waypoint of workload {workload.Uid}");
    }

    private OutboundPlan Direct(Workload workload, IPAddress? address, int port, Service? service, string what)
    {
        if (address is null)
        {
            return Resolved(workload, null, service, what, found => Direct(workload, found, port, service, what));
        }

        var target = new IPEndPoint(address, port);
        if (workload.Protocol is not TunnelProtocol.Hbone)
        {
            return new OutboundPlan.Tcp(target, workload, service, $"{workload.Uid}, {what}, does not take HBONE");
        }

        return new OutboundPlan.Hbone(
            new IPEndPoint(address, hbonePort), target.ToString(), Peers(service, workload), workload, service, $"{workload.Uid}, {what}, takes HBONE");
    }

    // The waypoint gets the target as the client dialled it. A reference that leads nowhere is an error: going round the waypoint would go round its policies.
    private static OutboundPlan ToWaypoint(Request request, GatewayAddress waypoint, Service? service, string what)
    {
        var found = Resolve(request, waypoint, isWaypoint: true);
        if (found is not { } gateway)
        {
            return new OutboundPlan.Refused(service, $"{what}, {waypoint}, cannot be reached: unknown, or without a healthy endpoint") { Choice = request.ChoiceOf(waypoint, true) };
        }

        var workload = gateway.Workload;
        if (workload.Network != request.Source.Network)
        {
            return service is null
                ? new OutboundPlan.Refused(null, $"{what}, {workload.Uid}, is on network '{workload.Network}', which only services can be reached on")
                : ToOtherNetwork(request, workload, service, gateway.Service, $"{workload.Uid}, {what}");
        }

        return Resolved(
            workload,
            gateway.Address,
            service,
            what,
            address => new OutboundPlan.Hbone(
                new IPEndPoint(address, gateway.Port), request.Authority, Peers(gateway.Service, workload), workload, service, $"{workload.Uid} is {what}"))
            with
        { Choice = gateway.Choice };
    }

    // ztunnel §7.5. Nobody but the service says who may answer behind the gateway; one that says nothing accepts nobody.
    private static OutboundPlan ToOtherNetwork(Request request, Workload target, Service service, Service? namedBy, string what)
    {
        if (target.NetworkGateway is not { } reference)
        {
            return new OutboundPlan.Refused(service, $"{what} is on network '{target.Network}', and has no gateway to it");
        }

        if (Resolve(request, reference, isWaypoint: false) is not { } gateway)
        {
            return new OutboundPlan.Refused(service, $"{what} is on network '{target.Network}', and its gateway, {reference}, cannot be reached: unknown, or without a healthy endpoint");
        }

        var names = namedBy?.SubjectAltNames ?? [];
        var peers = Identities(names);
        if (peers.IsEmpty)
        {
            return new OutboundPlan.Refused(
                service, $"{what} is on network '{target.Network}', and {(namedBy is null ? "no service names" : $"service {namedBy.Key} does not name")} the identities that it may have there (subjectAltNames)");
        }

        return Resolved(
            gateway.Workload,
            gateway.Address,
            service,
            "the gateway",
            address => new OutboundPlan.DoubleHbone(
                new IPEndPoint(address, gateway.Port),
                Peers(gateway.Service, gateway.Workload),
                $"{service.Hostname}:{request.Destination.Port}",
                peers,
                gateway.Workload,
                service,
                (int)Math.Clamp(target.Capacity, 1, int.MaxValue),
                $"{what} is on network '{target.Network}', reached through gateway {gateway.Workload.Uid}"));
    }

    private static OutboundPlan Resolved(Workload workload, IPAddress? address, Service? service, string what, Func<IPAddress, OutboundPlan> with)
    {
        if (address is not null)
        {
            return with(address);
        }

        return workload.Hostname.Length == 0
            ? new OutboundPlan.Refused(service, $"{workload.Uid}, {what}, has no address of a family that may be used")
            : new OutboundPlan.Unresolved(workload.Hostname, workload, service, with, $"{workload.Uid}, {what}, has no address but the host name {workload.Hostname}");
    }

    private static Gateway? Resolve(Request request, GatewayAddress reference, bool isWaypoint)
    {
        var (workload, service) = request.Mesh.Find(reference, request.Source.Namespace);
        var family = reference.Address?.Address ?? request.Destination.Address;
        if (service is not null)
        {
            var choice = request.Choice(service, reference.HboneMtlsPort, isWaypoint);
            return request.Select(service, reference.HboneMtlsPort, isWaypoint, family) is { } endpoint
                ? new Gateway(endpoint.Workload, endpoint.Address, endpoint.Port, service, choice)
                : null;
        }

        return workload is null ? null : new Gateway(workload, EndpointSelector.AddressOf(workload, IPFamilies.Automatic, family), reference.HboneMtlsPort, null, null);
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
    private bool IsWaypoint(MeshSnapshot mesh, Workload source, IPAddress sourceAddress, GatewayAddress waypoint)
    {
        var (workload, service) = mesh.Find(waypoint, source.Namespace);
        if (service is not null)
        {
            return mesh.EndpointsOf(service.Key).TryGetValue(source.Uid, out var endpoint) && endpoint.Addresses.Contains(sourceAddress);
        }

        return workload is not null && _aliases.AreSame(source.TrustDomain, workload.Identity, source.Identity) && workload.Addresses.Contains(sourceAddress);
    }

    private static ImmutableArray<SpiffeId> Peers(Service? service, Workload workload) => Identities(service?.SubjectAltNames ?? []).Add(workload.Identity);

    private static ImmutableArray<SpiffeId> Identities(ImmutableArray<string> names)
    {
        var identities = ImmutableArray.CreateBuilder<SpiffeId>(names.Length);
        foreach (var name in names)
        {
            if (SpiffeId.TryParse(name, out var id, out _))
            {
                identities.Add(id);
            }
        }

        return identities.ToImmutable();
    }

    private sealed record Gateway(Workload Workload, IPAddress? Address, int Port, Service? Service, EndpointChoice? Choice);

    /// <summary>What is asked.</summary>
    private sealed record Request(MeshSnapshot Mesh, Workload Source, IPEndPoint Destination, string Authority, Random Random, Func<Service, Workload, string?>? Excluded)
    {
        public SelectedEndpoint? Select(Service service, int port, bool isWaypoint, IPAddress family) =>
            EndpointSelector.Select(Mesh, service, port, isWaypoint, Source, family, Random, Excluded);

        public EndpointChoice Choice(Service service, int port, bool isWaypoint) =>
            new(service, port, () => EndpointSelector.Explain(Mesh, new EndpointQuery(service, port, isWaypoint, SourcePlace.Of(Source)), Excluded));

        public EndpointChoice? ChoiceOf(GatewayAddress reference, bool isWaypoint) =>
            Mesh.Find(reference, Source.Namespace).Service is { } service ? Choice(service, reference.HboneMtlsPort, isWaypoint) : null;
    }
}
