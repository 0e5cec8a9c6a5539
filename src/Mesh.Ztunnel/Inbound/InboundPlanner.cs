using System.Collections.Frozen;
using System.Net;
using System.Net.Sockets;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Inbound;

/// <summary>What is to be done with an inbound request: connect to an application, or refuse with a status.</summary>
public abstract record InboundPlan
{
    /// <summary>Connect, if policy allows it.</summary>
    /// <param name="Destination">The application's address and port.</param>
    /// <param name="Service">The service that was addressed, as far as it can be told; for telemetry.</param>
    public sealed record Connect(IPEndPoint Destination, Service? Service) : InboundPlan
    {
        /// <summary>The target to name in a PROXY protocol header before the octets; null for no header (ztunnel §8.3).</summary>
        public IPEndPoint? ProxyTarget { get; init; }
    }

    /// <summary>Refuse.</summary>
    /// <param name="Status">The status to answer with (ztunnel §2.5).</param>
    /// <param name="Reason">Why.</param>
    public sealed record Refuse(int Status, string Reason) : InboundPlan;
}

/// <summary>Validates the target of an inbound request and finds the application behind it (ztunnel §8.2). Pure.</summary>
/// <param name="isIllegalPort">Ports of the proxy itself.</param>
/// <param name="requireWaypoint">Whether what has a waypoint takes traffic from it alone. Istio leaves that to policies.</param>
/// <param name="aliases">Other names of our own trust domain, under which a waypoint may come; null for none.</param>
public sealed class InboundPlanner(Func<int, bool> isIllegalPort, bool requireWaypoint = false, TrustDomainAliases? aliases = null)
{
    private readonly TrustDomainAliases _aliases = aliases ?? TrustDomainAliases.None;

    /// <summary>Decides on one request.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="local">The workload that we act for.</param>
    /// <param name="localAddress">The address that the client connected to: the workload's.</param>
    /// <param name="authority">The target that the request names.</param>
    /// <param name="forwardedHost">The host name of the service that the client's side says it addressed; null when it does not say.</param>
    /// <param name="peer">The identity that the client has proved; null for plain text.</param>
    public InboundPlan Plan(MeshSnapshot mesh, Workload local, IPAddress localAddress, string authority, string? forwardedHost, SpiffeId? peer)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(local);
        ArgumentNullException.ThrowIfNull(localAddress);
        if (!TunnelTarget.TryParse(authority, out var target))
        {
            return new InboundPlan.Refuse(400, $"the authority '{(authority.Length > TunnelTarget.MaxLength ? authority[..TunnelTarget.MaxLength] : authority)}' is not of the form address:port or host:port");
        }

        return target.Hostname is { } hostname
            ? ByHostname(mesh, local, localAddress, hostname, target.Port, peer)
            : ByAddress(mesh, local, localAddress, new IPEndPoint(target.Address!, target.Port), forwardedHost, peer);
    }

    /// <summary>Decides on one redirected connection in plain text (ztunnel §8.7).</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="local">The workload that we act for.</param>
    /// <param name="destination">Where the client meant to go.</param>
    public InboundPlan Plan(MeshSnapshot mesh, Workload local, IPEndPoint destination)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(local);
        ArgumentNullException.ThrowIfNull(destination);
        return Checked(mesh, local, new InboundPlan.Connect(destination, ServiceGuess(mesh, local, destination.Port, null)), peer: null);
    }

    private InboundPlan ByAddress(MeshSnapshot mesh, Workload local, IPAddress localAddress, IPEndPoint target, string? forwardedHost, SpiffeId? peer)
    {
        // Anything else would make us a relay to anywhere; a waypoint may be sent what is addressed to those behind it, and one with an
        // application tunnel is told the address and decides for itself.
        if (!target.Address.Equals(localAddress) && local.ApplicationTunnel is null && !IsWaypointFor(mesh, local, localAddress, new NetworkAddress(local.Network, target.Address)))
        {
            return new InboundPlan.Refuse(400, $"ip mismatch: the request is for {target.Address}, this is {localAddress}");
        }

        var connect = new InboundPlan.Connect(new IPEndPoint(localAddress, target.Port), ServiceGuess(mesh, local, target.Port, forwardedHost));
        return Checked(mesh, local, ThroughApplicationTunnel(local, connect, target), peer);
    }

    private InboundPlan ByHostname(MeshSnapshot mesh, Workload local, IPAddress localAddress, string hostname, int port, SpiffeId? peer)
    {
        if (mesh.FindServiceByHostname(hostname, local.Namespace) is not { } service)
        {
            return new InboundPlan.Refuse(503, $"no service has the host name '{hostname}'");
        }

        if (EndpointSelector.TargetPort(local, service, port) is not { } targetPort)
        {
            return new InboundPlan.Refuse(503, $"service {service.Key} has no port {port} that this workload knows");
        }

        var connect = new InboundPlan.Connect(new IPEndPoint(localAddress, targetPort), service);
        if (local.ApplicationTunnel is not { Protocol: ApplicationTunnelProtocol.Proxy })
        {
            return Checked(mesh, local, ThroughApplicationTunnel(local, connect, null), peer);
        }

        return service.Vips.OrderBy(vip => (vip.Network != local.Network, vip.Address.AddressFamily is not AddressFamily.InterNetwork)).Select(vip => vip.Address).FirstOrDefault() is { } address
            ? Checked(mesh, local, ThroughApplicationTunnel(local, connect, new IPEndPoint(address, port)), peer)
            : new InboundPlan.Refuse(503, $"service {service.Key} has no virtual address, which the application tunnel of {local.Uid} must name");
    }

    // ztunnel §8.2 step 3.
    private static InboundPlan.Connect ThroughApplicationTunnel(Workload local, InboundPlan.Connect connect, IPEndPoint? target) => local.ApplicationTunnel is { } tunnel
        ? connect with
        {
            Destination = new IPEndPoint(connect.Destination.Address, tunnel.Port ?? connect.Destination.Port),
            ProxyTarget = tunnel.Protocol is ApplicationTunnelProtocol.Proxy ? target : null,
        }
        : connect;

    private InboundPlan Checked(MeshSnapshot mesh, Workload local, InboundPlan.Connect connect, SpiffeId? peer)
    {
        if (isIllegalPort(connect.Destination.Port))
        {
            return new InboundPlan.Refuse(503, $"port {connect.Destination.Port} is one of the proxy's own");
        }

        return requireWaypoint && WaypointPassedBy(mesh, local, connect.Destination.Port, peer) is { } waypoint
            ? new InboundPlan.Refuse(401, $"the connection did not come through the waypoint {waypoint}, as is required here, but from {peer?.ToString() ?? "a client without identity"}")
            : connect;
    }

    // What the client says it addressed does not count, for it could name a service that has no waypoint.
    private GatewayAddress? WaypointPassedBy(MeshSnapshot mesh, Workload local, int port, SpiffeId? peer)
    {
        var services = local.Services.Where(pair => Targets(pair.Value, port) || (mesh.FindService(pair.Key) is { } service && Targets(service.Ports, port)));
        var waypoints = services.SelectMany(pair => mesh.FindService(pair.Key) is { } service ? WaypointsOf(service) : []);
        var needed = (local.Waypoint is { } own ? waypoints.Prepend(own) : waypoints)
            .Select(waypoint => (Waypoint: waypoint, Workloads: mesh.WorkloadsBehind(waypoint, local.Namespace)))
            .Where(one => !one.Workloads.Any(workload => workload.Uid == local.Uid))
            .ToList();
        return needed.Exists(one => one.Workloads.Any(workload => _aliases.AreSame(local.TrustDomain, workload.Identity, peer))) ? null : needed.Select(one => one.Waypoint).FirstOrDefault();
    }

    private static bool IsWaypointFor(MeshSnapshot mesh, Workload local, IPAddress localAddress, NetworkAddress address)
    {
        var waypoints = mesh.FindWorkload(address) is { } workload
            ? workload.Waypoint is { } own ? [own] : []
            : mesh.FindService(address, local.Namespace) is { } service ? WaypointsOf(service) : [];
        return waypoints.Any(waypoint => mesh.WorkloadsBehind(waypoint, local.Namespace).Any(one => one.Uid == local.Uid && one.Addresses.Contains(localAddress)));
    }

    private static IEnumerable<GatewayAddress> WaypointsOf(Service service)
    {
        var weighted = service.WeightedWaypoints.Where(one => one.Weight > 0).Select(one => one.Destination);
        return service.Waypoint is { } single ? weighted.Prepend(single) : weighted;
    }

    // ztunnel §8.6: what the client's side says, if it is one of ours; else the first service with this target port.
    private static Service? ServiceGuess(MeshSnapshot mesh, Workload local, int port, string? forwardedHost)
    {
        Service? byPort = null;
        foreach (var (key, ports) in local.Services)
        {
            if (mesh.FindService(key) is not { } service)
            {
                continue;
            }

            if (forwardedHost is not null && service.Hostname.Equals(forwardedHost, StringComparison.OrdinalIgnoreCase))
            {
                return service;
            }

            byPort ??= Targets(ports, port) || Targets(service.Ports, port) ? service : null;
        }

        return byPort;
    }

    private static bool Targets(FrozenDictionary<int, int> ports, int port)
    {
        foreach (var target in ports.Values)
        {
            if (target == port)
            {
                return true;
            }
        }

        return false;
    }
}
