using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>Whether labels name a workload that the mesh no longer has. Not thread-safe.</summary>
internal sealed class KnownWorkloads(MeshState state)
{
    private const string Unknown = "unknown";

    private HashSet<(string Namespace, string Name)> _names = [];
    private MeshSnapshot? _of;

    /// <summary>Whether the source or the destination is named and is not in the mesh.</summary>
    public bool IsOfGone(ReadOnlySpan<KeyValuePair<string, object?>> labels) =>
        IsGone(Value(labels, "source_workload_namespace"), Value(labels, "source_workload"))
        || IsGone(Value(labels, "destination_workload_namespace"), Value(labels, "destination_workload"));

    private bool IsGone(string? ns, string? name)
    {
        if (ns is null or Unknown || name is null or Unknown)
        {
            return false;
        }

        var current = state.Current;
        if (!ReferenceEquals(_of, current))
        {
            _names = [.. current.Workloads.Select(workload => (workload.Namespace, workload.WorkloadName))];
            _of = current;
        }

        return !_names.Contains((ns, name));
    }

    private static string? Value(ReadOnlySpan<KeyValuePair<string, object?>> labels, string name)
    {
        foreach (var (key, value) in labels)
        {
            if (key == name)
            {
                return value as string;
            }
        }

        return null;
    }
}
