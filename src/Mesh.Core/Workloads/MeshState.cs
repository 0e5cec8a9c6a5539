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
            Publish_NeedsLock(before, editor.ToSnapshot(), editor.Changed);
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
            Publish_NeedsLock(_current, next, MeshKeys.Of(_current).Concat(MeshKeys.Of(next)));
        }
    }

    private void Publish_NeedsLock(MeshSnapshot before, MeshSnapshot after, MeshKeys keys)
    {
        if (ReferenceEquals(before, after))
        {
            return;
        }

        Volatile.Write(ref _current, after);

        // One subscriber's fault must not keep the change from the others: some of them enforce it.
        var change = new MeshChange(before, after, keys);
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
/// <param name="Keys">What was added, replaced or removed.</param>
public sealed record MeshChange(MeshSnapshot Before, MeshSnapshot After, MeshKeys Keys)
{
    /// <summary>Whether authorization policies are among what changed, so that open connections must be judged anew (ztunnel §9.4).</summary>
    public bool PoliciesChanged => !ReferenceEquals(Before.Policies, After.Policies);
}

/// <summary>Keys of parts of a mesh. Those of a change are as many as it touched, not as there are in the mesh.</summary>
/// <param name="Workloads">UIDs of workloads.</param>
/// <param name="Services">Keys of services.</param>
/// <param name="Policies">Keys of policies, <c>namespace/name</c>.</param>
public sealed record MeshKeys(IEnumerable<string> Workloads, IEnumerable<NamespacedHostname> Services, IEnumerable<string> Policies)
{
    /// <summary>All keys of a mesh.</summary>
    public static MeshKeys Of(MeshSnapshot mesh)
    {
        ArgumentNullException.ThrowIfNull(mesh);
        return new MeshKeys(mesh.WorkloadsByUid.Keys, mesh.ServicesByKey.Keys, mesh.Policies.Policies.Select(policy => policy.Key));
    }

    internal MeshKeys Concat(MeshKeys other) =>
        new(Workloads.Concat(other.Workloads).Distinct(), Services.Concat(other.Services).Distinct(), Policies.Concat(other.Policies).Distinct());
}
