using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>The baggage of workloads as text, and back, worked out once: nearly every connection has that of one before it. Thread-safe.</summary>
internal sealed class KnownBaggage
{
    // A peer does not get to have more kept.
    private const int MaxLength = 1024;

    private static readonly Baggage None = Baggage.Parse([]);

    private readonly RecentValues<string, Baggage> _read = new(16, static line => Baggage.Parse([line]));
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

        return only is null ? None : _read.Get(only);
    }

    private sealed record OwnText(Workload Workload, string Text);
}
