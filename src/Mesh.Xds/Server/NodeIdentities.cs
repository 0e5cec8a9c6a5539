using Mesh.Core.Identity;
using Mesh.Core.Workloads;

namespace Mesh.Xds.Server;

/// <summary>Which identities run on which node; kept like a <see cref="MeshState"/>, at a cost in proportion to what changes.</summary>
internal sealed class NodeIdentities : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, (string Node, SpiffeId Identity)> _places = [];
    private readonly Dictionary<(string Node, SpiffeId Identity), int> _counts = [];
    private readonly MeshState _state;

    public NodeIdentities(MeshState state)
    {
        _state = state;
        state.Changed += OnChanged;
        var mesh = state.Current;
        OnChanged(null, new MeshChange(MeshSnapshot.Empty, mesh, MeshKeys.Of(mesh)));
    }

    public bool RunsOn(string node, SpiffeId identity)
    {
        lock (_gate)
        {
            return _counts.ContainsKey((node, identity));
        }
    }

    public void Dispose() => _state.Changed -= OnChanged;

    private void OnChanged(object? sender, MeshChange change)
    {
        lock (_gate)
        {
            // The newest, whichever change this is of.
            var mesh = _state.Current;
            foreach (var uid in change.Keys.Workloads)
            {
                if (_places.Remove(uid, out var old) && --_counts[old] == 0)
                {
                    _counts.Remove(old);
                }

                if (mesh.FindWorkload(uid) is { Node.Length: > 0 } workload)
                {
                    var place = (workload.Node, workload.Identity);
                    _places.Add(uid, place);
                    _counts[place] = _counts.GetValueOrDefault(place) + 1;
                }
            }
        }
    }
}
