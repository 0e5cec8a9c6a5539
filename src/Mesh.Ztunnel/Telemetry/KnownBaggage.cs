using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>The baggage of workloads as text, and back, worked out once: nearly every connection has that of one before it. Thread-safe.</summary>
internal sealed class KnownBaggage
{
    // What is not here is read again. A power of two.
    private const int Size = 16;

    // A peer does not get to have more kept.
    private const int MaxLength = 1024;

    private static readonly Baggage None = Baggage.Parse([]);

    private readonly Entry?[] _read = new Entry?[Size];
    private OwnText? _own;

    /// <summary>What our workload says of itself.</summary>
    public string TextOf(Workload workload)
    {
        if (Volatile.Read(ref _own) is not { } own || !ReferenceEquals(own.Workload, workload))
        {
            own = new OwnText(workload, Baggage.Of(workload).ToString());
            Volatile.Write(ref _own, own);
        }

        return own.Text;
    }

    /// <summary>What a peer says of itself.</summary>
    public Baggage Parse(HboneHeaders headers)
    {
        string? only = null;
        foreach (var line in headers.GetValues(Baggage.HeaderName))
        {
            if (only is not null || line.Length > MaxLength)
            {
                return Baggage.Parse(headers.GetValues(Baggage.HeaderName));
            }

            only = line;
        }

        if (only is null)
        {
            return None;
        }

        ref var place = ref _read[only.GetHashCode(StringComparison.Ordinal) & (Size - 1)];
        if (Volatile.Read(ref place) is not { } entry || entry.Text != only)
        {
            entry = new Entry(only, Baggage.Parse([only]));
            Volatile.Write(ref place, entry);
        }

        return entry.Baggage;
    }

    private sealed record OwnText(Workload Workload, string Text);

    private sealed record Entry(string Text, Baggage Baggage);
}
