using System.Collections.Concurrent;
using System.Collections.Immutable;

namespace Mesh.Core.Workloads;

/// <summary>The workloads behind one service, and what was worked out about them: a service with ten thousand of them is not walked for each connection.</summary>
/// <remarks>Goes with its snapshot: a change among the workloads makes a new one, with nothing worked out.</remarks>
internal sealed class ServiceEndpoints(ImmutableDictionary<string, Workload> byUid)
{
    // As many kinds of source as one program may reasonably act for: the ports of a service, seen from a few places.
    private const int MaxRemembered = 64;

    // Made for the first question: most services of a mesh are never asked for on this node.
    private ConcurrentDictionary<EndpointQuery, EndpointGroup>? _groups;

    public static readonly ServiceEndpoints None = new(ImmutableDictionary<string, Workload>.Empty);

    public ImmutableDictionary<string, Workload> ByUid => byUid;

    /// <summary>The endpoints that fit a query best.</summary>
    public EndpointGroup Best(EndpointQuery query)
    {
        if (byUid.IsEmpty)
        {
            return EndpointGroup.Empty;
        }

        var groups = LazyInitializer.EnsureInitialized(ref _groups);
        if (groups.TryGetValue(query, out var known))
        {
            return known;
        }

        if (groups.Count >= MaxRemembered)
        {
            groups.Clear();
        }

        return groups[query] = EndpointGroup.Of(byUid.Values, query, excluded: null);
    }
}
