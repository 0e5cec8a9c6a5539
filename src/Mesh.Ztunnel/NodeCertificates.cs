using Mesh.Core.Identity;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel;

/// <summary>Has the certificates of a node's workloads ready: fetched when a workload comes, forgotten when the last one of an identity has gone (ztunnel §3.6).</summary>
internal sealed class NodeCertificates : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<SpiffeId, HashSet<string>> _workloads = [];
    private readonly Dictionary<string, SpiffeId> _identities = [];
    private readonly string _node;
    private readonly MeshState _state;
    private readonly WorkloadCertificates _certificates;

    public NodeCertificates(string node, MeshState state, WorkloadCertificates certificates)
    {
        _node = node;
        _state = state;
        _certificates = certificates;
        state.Changed += OnChanged;
        Follow(MeshKeys.Of(state.Current).Workloads);
    }

    public void Dispose() => _state.Changed -= OnChanged;

    private void OnChanged(object? sender, MeshChange change) => Follow(change.Keys.Workloads);

    private void Follow(IEnumerable<string> uids)
    {
        lock (_gate)
        {
            // The newest, whichever change this is of.
            var mesh = _state.Current;
            foreach (var uid in uids)
            {
                var before = _identities.GetValueOrDefault(uid);
                var after = IdentityOf(mesh.FindWorkload(uid));
                if (before == after)
                {
                    continue;
                }

                Add_NeedsLock(after, uid);
                Remove_NeedsLock(before, uid);
                if (after is null)
                {
                    _identities.Remove(uid);
                }
                else
                {
                    _identities[uid] = after;
                }
            }
        }
    }

    private SpiffeId? IdentityOf(Workload? workload) =>
        workload is not null && workload.Node == _node && (workload.Protocol is TunnelProtocol.Hbone || workload.NativeTunnel) ? workload.Identity : null;

    private void Add_NeedsLock(SpiffeId? identity, string uid)
    {
        if (identity is null)
        {
            return;
        }

        if (!_workloads.TryGetValue(identity, out var workloads))
        {
            workloads = [];
            _workloads.Add(identity, workloads);

            // Nobody waits yet. If it cannot be had, it is tried again, and who needs it hears why.
            _ = _certificates.GetAsync(identity, CertificatePriority.Warmup).AsTask().ContinueWith(
                static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        }

        workloads.Add(uid);
    }

    private void Remove_NeedsLock(SpiffeId? identity, string uid)
    {
        if (identity is not null && _workloads.TryGetValue(identity, out var workloads) && workloads.Remove(uid) && workloads.Count == 0)
        {
            _workloads.Remove(identity);
            _certificates.Forget(identity);
        }
    }
}
