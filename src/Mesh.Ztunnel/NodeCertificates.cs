using Mesh.Core.Identity;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel;

/// <summary>Has the certificates of a node's workloads ready: fetched when a workload comes, forgotten when the last one of an identity has gone (ztunnel §3.6).</summary>
internal sealed class NodeCertificates : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<SpiffeId, HashSet<string>> _workloads = [];
    private readonly string _node;
    private readonly MeshState _state;
    private readonly WorkloadCertificates _certificates;

    public NodeCertificates(string node, MeshState state, WorkloadCertificates certificates)
    {
        _node = node;
        _state = state;
        _certificates = certificates;
        state.Changed += OnChanged;
        var mesh = state.Current;
        OnChanged(null, new MeshChange(MeshSnapshot.Empty, mesh, MeshKeys.Of(mesh)));
    }

    public void Dispose() => _state.Changed -= OnChanged;

    private void OnChanged(object? sender, MeshChange change)
    {
        lock (_gate)
        {
            foreach (var uid in change.Keys.Workloads)
            {
                var before = IdentityOf(change.Before.FindWorkload(uid));
                var after = IdentityOf(change.After.FindWorkload(uid));
                if (before == after)
                {
                    continue;
                }

                Add_NeedsLock(after, uid);
                Remove_NeedsLock(before, uid);
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
