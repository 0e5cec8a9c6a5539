using System.Collections.Frozen;
using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Inbound;

/// <summary>What is to be done with an inbound request: connect to an application, or refuse with a status.</summary>
public abstract record InboundPlan
{
    /// <summary>Connect, if policy allows it.</summary>
    /// <param name="Destination">The application's address and port.</param>
    /// <param name="Service">The service that was addressed, as far as it can be told; for telemetry.</param>
    public sealed record Connect(IPEndPoint Destination, Service? Service) : InboundPlan;

    /// <summary>Refuse.</summary>
    /// <param name="Status">The status to answer with (ztunnel §2.5).</param>
    /// <param name="Reason">Why.</param>
    public sealed record Refuse(int Status, string Reason) : InboundPlan;
}

/// <summary>Validates the target of an inbound request and finds the application behind it (ztunnel §8.2). Pure.</summary>
/// <param name="isIllegalPort">Ports of the proxy itself.</param>
public sealed class InboundPlanner(Func<int, bool> isIllegalPort)
{
    /// <summary>Decides on one request.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="local">The workload that we act for.</param>
    /// <param name="localAddress">The address that the client connected to: the workload's.</param>
    /// <param name="authority">The target that the request names.</param>
    /// <param name="forwardedHost">The host name of the service that the client's side says it addressed; null when it does not say.</param>
    public InboundPlan Plan(MeshSnapshot mesh, Workload local, IPAddress localAddress, string authority, string? forwardedHost)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(local);
        ArgumentNullException.ThrowIfNull(localAddress);
        if (!TunnelTarget.TryParse(authority, out var target))
        {
            return new InboundPlan.Refuse(400, $"the authority '{authority}' is not of the form address:port or host:port");
        }

        if (local.ApplicationTunnel is not null)
        {
            return new InboundPlan.Refuse(503, $"workload {local.Uid} has an application tunnel, which is not supported");
        }

        return target.Hostname is { } hostname
            ? ByHostname(mesh, local, localAddress, hostname, target.Port)
            : ByAddress(mesh, local, localAddress, target.Address!, target.Port, forwardedHost);
    }

    private InboundPlan ByAddress(MeshSnapshot mesh, Workload local, IPAddress localAddress, IPAddress address, int port, string? forwardedHost)
    {
        // Anything else would make us a relay to anywhere; a waypoint may be sent what is addressed to those behind it.
        if (!address.Equals(localAddress) && !IsWaypointFor(mesh, local, new NetworkAddress(local.Network, address)))
        {
            return new InboundPlan.Refuse(400, $"ip mismatch: the request is for {address}, this is {localAddress}");
        }

        return Checked(new IPEndPoint(localAddress, port), ServiceGuess(mesh, local, port, forwardedHost));
    }

    private InboundPlan ByHostname(MeshSnapshot mesh, Workload local, IPAddress localAddress, string hostname, int port)
    {
        if (mesh.FindServiceByHostname(hostname, local.Namespace) is not { } service)
        {
            return new InboundPlan.Refuse(503, $"no service has the host name '{hostname}'");
        }

        return EndpointSelector.TargetPort(local, service, port) is { } targetPort
            ? Checked(new IPEndPoint(localAddress, targetPort), service)
            : new InboundPlan.Refuse(503, $"service {service.Key} has no port {port} that this workload knows");
    }

    private InboundPlan Checked(IPEndPoint destination, Service? service) => isIllegalPort(destination.Port)
        ? new InboundPlan.Refuse(503, $"port {destination.Port} is one of the proxy's own")
        : new InboundPlan.Connect(destination, service);

    private static bool IsWaypointFor(MeshSnapshot mesh, Workload local, NetworkAddress address)
    {
        var waypoint = mesh.FindWorkload(address)?.Waypoint ?? mesh.FindService(address, local.Namespace)?.Waypoint;
        return waypoint switch
        {
            { Hostname: { } hostname } => local.Services.ContainsKey(hostname) || (local.Namespace, local.Hostname) == (hostname.Namespace, hostname.Hostname),
            { Address: { } own } when local.Network == own.Network && local.Addresses.Contains(own.Address) => true,
            { Address: { } vip } => mesh.FindService(vip, local.Namespace) is { } service && local.Services.ContainsKey(service.Key),
            _ => false,
        };
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
