using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Microsoft.Extensions.Options;

namespace Mesh.AspNetCore.Client;

/// <summary>Where a client sends everything, instead of asking the <see cref="MeshState"/>.</summary>
/// <param name="EndPoint">The address of the waypoint's HBONE, usually with port 15008.</param>
/// <param name="Identities">The identities that it may have; none accepts nobody.</param>
public sealed record MeshWaypoint(IPEndPoint EndPoint, params ImmutableArray<SpiffeId> Identities);

/// <summary>Connects through tunnels, with the application's identity. For HttpClient there is <c>AddMesh</c>; this is for what else takes a stream.</summary>
/// <remarks>What the mesh does not know, or knows as plain TCP, is refused: nothing leaves in plain text. Thread-safe.</remarks>
/// <param name="options">Who we are.</param>
/// <param name="state">What the mesh knows.</param>
/// <param name="pool">The connections.</param>
public sealed class MeshConnector(IOptions<MeshOptions> options, MeshState state, HbonePool pool)
{
    private readonly OutboundPlanner _planner = new(options.Value.HbonePort, static _ => false, options.Value.TrustDomainAliases);

    // One for all, which takes turns.
    private readonly Random _random = new();

    /// <summary>Connects to a service, by name or virtual address, or to a workload by address.</summary>
    /// <param name="host">A host name of a service, or an IP address.</param>
    /// <param name="port">The port; of a service its own, not that of its endpoints.</param>
    /// <param name="waypoint">Where to send it; null to ask the <see cref="MeshState"/>.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="HboneException">There is no tunnel; the error says at which step it failed.</exception>
    public async Task<HboneTunnel> ConnectAsync(string host, int port, MeshWaypoint? waypoint = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(host);
        ArgumentOutOfRangeException.ThrowIfLessThan(port, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(port, ushort.MaxValue);
        var identity = options.Value.Identity!;
        if (waypoint is not null)
        {
            var authority = IPAddress.TryParse(host, out var address) ? new IPEndPoint(address, port).ToString() : $"{host}:{port}";
            return await pool.ConnectAsync(new HboneDestination(identity, waypoint.Identities, waypoint.EndPoint), authority, headers: null, cancellationToken);
        }

        return Plan(host, port) switch
        {
            OutboundPlan.Hbone plan => await pool.ConnectAsync(new HboneDestination(identity, plan.Peers, plan.NextHop), plan.Authority, headers: null, cancellationToken),
            OutboundPlan.DoubleHbone plan => await pool.ConnectAsync(
                new HboneDestination(new HboneDestination(identity, plan.GatewayPeers, plan.NextHop), plan.Authority, plan.Peers) { Capacity = plan.Capacity },
                plan.Authority,
                new HboneHeaders().Add(Forwarded.NetworkHeaderName, options.Value.Network),
                cancellationToken),
            { } other => throw new HboneException(HboneError.NotInMesh, $"{host}:{port} cannot be reached through the mesh: {other.Why}"),
            null => throw new HboneException(HboneError.NotInMesh, $"{host}:{port} cannot be reached through the mesh: it knows no service {host} that {identity} can see"),
        };
    }

    private OutboundPlan? Plan(string host, int port)
    {
        var mesh = state.Current;
        var source = options.Value.WorkloadIn(mesh)
            ?? throw new HboneException(HboneError.NotInMesh, $"the mesh has no workload {options.Value.WorkloadUid} with the identity {options.Value.Identity}, which this application is to be");
        lock (_random)
        {
            return NetworkAddress.TryParseAddress(host, out var address)
                ? _planner.Plan(mesh, source, source.Addresses.FirstOrDefault() ?? IPAddress.None, new IPEndPoint(address, port), _random)
                : _planner.Plan(mesh, source, host, port, _random);
        }
    }
}
