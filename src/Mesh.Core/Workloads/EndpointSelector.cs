using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Core.Workloads;

/// <summary>Chooses among the workloads behind a service (ztunnel §7.2 to §7.4). Pure but for the randomness, which the caller brings.</summary>
public static class EndpointSelector
{
    /// <summary>Chooses an endpoint for one connection; null when none may take it.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="service">The service.</param>
    /// <param name="servicePort">The port that the client dialled.</param>
    /// <param name="source">The workload of the client.</param>
    /// <param name="destination">The address that the client dialled: an endpoint's own address and family are preferred.</param>
    /// <param name="random">The randomness.</param>
    /// <param name="excluded">Says of an endpoint why it must not be chosen now, or null; null to exclude none.</param>
    public static SelectedEndpoint? Select(
        MeshSnapshot mesh, Service service, int servicePort, Workload source, IPAddress destination, Random random, Func<Service, Workload, string?>? excluded = null) =>
        Select(mesh, service, servicePort, isWaypoint: false, source, destination, random, excluded);

    /// <summary>What became of every endpoint of a service in such a choice, best first. For people: it costs as much as there are endpoints.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="service">The service.</param>
    /// <param name="servicePort">The port that the client dialled.</param>
    /// <param name="source">The workload of the client.</param>
    /// <param name="excluded">Says of an endpoint why it must not be chosen now, or null; null to exclude none.</param>
    public static ImmutableArray<EndpointVerdict> Explain(
        MeshSnapshot mesh, Service service, int servicePort, Workload source, Func<Service, Workload, string?>? excluded = null)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(service);
        ArgumentNullException.ThrowIfNull(source);
        return Explain(mesh, new EndpointQuery(service, servicePort, IsWaypoint: false, SourcePlace.Of(source)), excluded);
    }

    /// <summary>The application's port for a service port: the endpoint's own mapping, then the service's; null when neither knows it (ztunnel §7.2).</summary>
    public static int? TargetPort(Workload workload, Service service, int servicePort)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(service);
        var own = workload.Services.GetValueOrDefault(service.Key, FrozenDictionary<int, int>.Empty);
        return own.TryGetValue(servicePort, out var port) && port > 0 ? port
            : service.Ports.TryGetValue(servicePort, out var target) && target > 0 ? target
            : workload.ApplicationTunnel?.Port is not null ? servicePort
            : null;
    }

    internal static SelectedEndpoint? Select(
        MeshSnapshot mesh, Service service, int servicePort, bool isWaypoint, Workload source, IPAddress destination, Random random, Func<Service, Workload, string?>? excluded)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(service);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(random);
        var endpoints = mesh.Endpoints.GetValueOrDefault(service.Key, ServiceEndpoints.None);
        var query = new EndpointQuery(service, servicePort, isWaypoint, SourcePlace.Of(source));
        var choice = endpoints.Best(query).Choose(random);
        if (excluded is not null && (choice is not { } first || excluded(service, first.Workload) is not null))
        {
            // All are walked only when there was nothing to choose, or the choice falls on one that is left out. The others keep their shares.
            choice = EndpointGroup.Of(endpoints.ByUid.Values, query, excluded).Choose(random);
        }

        return choice is { } chosen
            ? new SelectedEndpoint(chosen.Workload, AddressOf(chosen.Workload, service.IPFamilies, NetworkAddress.Canonical(destination)), chosen.Port)
            : null;
    }

    internal static ImmutableArray<EndpointVerdict> Explain(MeshSnapshot mesh, EndpointQuery query, Func<Service, Workload, string?>? excluded)
    {
        var endpoints = mesh.EndpointsOf(query.Service.Key).Values.Select(workload => (Workload: workload, FellOut: EndpointGroup.FellOut(workload, query, excluded))).ToList();
        var best = endpoints.Where(one => one.FellOut is null).Select(one => EndpointGroup.Rank(one.Workload, query)).DefaultIfEmpty(0).Max();
        return
        [
            .. endpoints
                .Select(one => new EndpointVerdict(
                    one.Workload, one.FellOut ?? (EndpointGroup.Rank(one.Workload, query) < best ? "others are nearer" : one.Workload.Capacity == 0 ? "it has no capacity" : null)))
                .OrderBy(verdict => verdict.FellOut is not null)
                .ThenBy(verdict => verdict.Workload.Uid, StringComparer.Ordinal),
        ];
    }

    /// <summary>The address to use of a workload: the one that was dialled, else one of the allowed families, of the dialled one first (ztunnel §7.4).</summary>
    internal static IPAddress? AddressOf(Workload workload, IPFamilies families, IPAddress destination)
    {
        if (workload.Addresses.Contains(destination))
        {
            return destination;
        }

        IPAddress? other = null;
        foreach (var address in workload.Addresses)
        {
            var allowed = families switch
            {
                IPFamilies.IPv4Only => address.AddressFamily is AddressFamily.InterNetwork,
                IPFamilies.IPv6Only => address.AddressFamily is AddressFamily.InterNetworkV6,
                _ => true,
            };
            if (allowed && address.AddressFamily == destination.AddressFamily)
            {
                return address;
            }

            other ??= allowed ? address : null;
        }

        return other;
    }
}
