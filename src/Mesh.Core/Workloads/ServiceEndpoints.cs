using System.Collections.Concurrent;
using System.Collections.Immutable;

namespace Mesh.Core.Workloads;

/// <summary>The workloads behind one service, and what was worked out about them: a service with ten thousand of them is not walked for each connection.</summary>
/// <remarks>Goes with its snapshot: a change among the workloads makes a new one, with nothing worked out.</remarks>
internal sealed class ServiceEndpoints(ImmutableDictionary<string, Workload> byUid)
{
    // As many kinds of source as one program may reasonably act for: the ports of a service, seen from a few places.
    private const int MaxRemembered = 64;

    private readonly ConcurrentDictionary<EndpointQuery, EndpointGroup> _groups = new();

    public static readonly ServiceEndpoints None = new(ImmutableDictionary<string, Workload>.Empty);

    public ImmutableDictionary<string, Workload> ByUid => byUid;

    /// <summary>The endpoints that fit a query best.</summary>
    public EndpointGroup Best(EndpointQuery query)
    {
        if (byUid.IsEmpty)
        {
            return EndpointGroup.Empty;
        }

        if (_groups.TryGetValue(query, out var known))
        {
            return known;
        }

        if (_groups.Count >= MaxRemembered)
        {
            _groups.Clear();
        }

        return _groups[query] = EndpointGroup.Of(byUid.Values, query, excluded: null);
    }
}

/// <summary>What decides which endpoints of a service may take a connection, apart from chance.</summary>
/// <param name="Service">The service, as it is.</param>
/// <param name="Port">The service port.</param>
/// <param name="IsWaypoint">Whether a waypoint is looked for, which need not declare its port.</param>
/// <param name="Place">Where the source is.</param>
internal readonly record struct EndpointQuery(Service Service, int Port, bool IsWaypoint, SourcePlace Place)
{
    // The members of a service do not change, and comparing them all would cost more than what is saved.
    public bool Equals(EndpointQuery other) =>
        ReferenceEquals(Service, other.Service) && Port == other.Port && IsWaypoint == other.IsWaypoint && Place == other.Place;

    public override int GetHashCode() => HashCode.Combine(System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(Service), Port, IsWaypoint, Place);
}

/// <summary>What routing preferences compare of a source.</summary>
internal sealed record SourcePlace(string Network, Locality Locality, string Node, string ClusterId)
{
    public static SourcePlace Of(Workload source) => new(source.Network, source.Locality, source.Node, source.ClusterId);
}
