namespace Mesh.Ztunnel.Telemetry;

/// <summary>The labels of connections between the same ends, made once: most connections are like one before them. Thread-safe.</summary>
/// <param name="make">Makes them.</param>
internal sealed class SharedLabels(Func<ConnectionEnds, KeyValuePair<string, object?>[]> make)
{
    // Who is not here is worked out again. A power of two.
    private const int Size = 256;

    private readonly Entry?[] _entries = new Entry?[Size];

    /// <summary>The labels of a connection that has not failed.</summary>
    public KeyValuePair<string, object?>[] Of(in ConnectionEnds ends)
    {
        if (!ends.WasOpened)
        {
            // Whoever is refused does not get to have something kept.
            return make(ends);
        }

        ref var place = ref _entries[ends.GetHashCode() & (Size - 1)];
        if (Volatile.Read(ref place) is not { } entry || !entry.Ends.Equals(ends))
        {
            entry = new Entry(ends, make(ends));
            Volatile.Write(ref place, entry);
        }

        return entry.Labels;
    }

    private sealed record Entry(ConnectionEnds Ends, KeyValuePair<string, object?>[] Labels);
}
