using Mesh.Core.Policy;

namespace Mesh.Core.Workloads;

/// <summary>The mesh as it is now. Readers take <see cref="Current"/> and never lock; a change is a new snapshot, published once.</summary>
/// <remarks>A change costs time and memory in proportion to itself and to the logarithm of the mesh: what did not change is shared between snapshots.</remarks>
public sealed class MeshState
{
    private readonly Lock _writer = new();
    private MeshSnapshot _current = MeshSnapshot.Empty;

    /// <summary>Raised after a snapshot is published, on the thread that published it, in the order of publication. Must not block.</summary>
    public event EventHandler<MeshChange>? Changed;

    /// <summary>The newest snapshot.</summary>
    public MeshSnapshot Current => Volatile.Read(ref _current);

    /// <summary>Makes changes and publishes them together. An exception in <paramref name="edit"/> publishes nothing.</summary>
    /// <exception cref="AggregateException">The change is published, but subscribers of <see cref="Changed"/> failed.</exception>
    public void Update(Action<MeshEditor> edit)
    {
        ArgumentNullException.ThrowIfNull(edit);
        lock (_writer)
        {
            var before = _current;
            var editor = new MeshEditor(before);
            edit(editor);
            Publish_NeedsLock(before, editor.ToSnapshot(), editor.TouchedWorkloads);
        }
    }

    /// <summary>Publishes a whole mesh in place of the current one.</summary>
    public void Replace(IEnumerable<Workload> workloads, IEnumerable<Service> services, IEnumerable<L4Authorization> policies)
    {
        var editor = new MeshEditor(MeshSnapshot.Empty);
        foreach (var workload in workloads)
        {
            editor.Upsert(workload);
        }

        foreach (var service in services)
        {
            editor.Upsert(service);
        }

        foreach (var policy in policies)
        {
            editor.Upsert(policy);
        }

        var next = editor.ToSnapshot();
        lock (_writer)
        {
            Publish_NeedsLock(_current, next, _current.WorkloadsByUid.Keys.Concat(next.WorkloadsByUid.Keys).Distinct());
        }
    }

    private void Publish_NeedsLock(MeshSnapshot before, MeshSnapshot after, IEnumerable<string> workloads)
    {
        if (ReferenceEquals(before, after))
        {
            return;
        }

        Volatile.Write(ref _current, after);

        // One subscriber's fault must not keep the change from the others: some of them enforce it.
        var change = new MeshChange(before, after, workloads);
        var faults = new List<Exception>();
        foreach (var subscriber in Changed?.GetInvocationList().Cast<EventHandler<MeshChange>>() ?? [])
        {
            try
            {
                subscriber(this, change);
            }
            catch (Exception e)
            {
                faults.Add(e);
            }
        }

        if (faults.Count > 0)
        {
            throw new AggregateException("the change is published, but subscribers failed", faults);
        }
    }
}

/// <summary>A published change.</summary>
/// <param name="Before">The mesh before it.</param>
/// <param name="After">The mesh since.</param>
/// <param name="Workloads">The UIDs of the workloads that were added, replaced or removed; in proportion to the change, not to the mesh.</param>
public sealed record MeshChange(MeshSnapshot Before, MeshSnapshot After, IEnumerable<string> Workloads)
{
    /// <summary>Whether authorization policies are among what changed, so that open connections must be judged anew (ztunnel §9.4).</summary>
    public bool PoliciesChanged => !ReferenceEquals(Before.Policies, After.Policies);
}
