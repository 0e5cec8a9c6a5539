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
