namespace Mesh.Ztunnel.Telemetry;

/// <summary>What was made last for some keys, in a fixed number of places: of two keys with one place the later has it, and what is not there is made again. Thread-safe.</summary>
/// <param name="size">How many places; a power of two.</param>
/// <param name="make">Makes the value of a key, of nothing but the key.</param>
internal sealed class RecentValues<TKey, TValue>(int size, Func<TKey, TValue> make)
    where TKey : IEquatable<TKey>
{
    private readonly Entry?[] _entries = new Entry?[size];

    public TValue Get(TKey key)
    {
        ref var place = ref _entries[key.GetHashCode() & (size - 1)];
        if (Volatile.Read(ref place) is not { } entry || !entry.Key.Equals(key))
        {
            entry = new Entry(key, make(key));
            Volatile.Write(ref place, entry);
        }

        return entry.Value;
    }

    private sealed record Entry(TKey Key, TValue Value);
}
