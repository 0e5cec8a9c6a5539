namespace Mesh.Xds.Client;

/// <summary>How long to wait before the next attempt: doubled after each failure, from the first to the longest wait, with some chance in it (ztunnel §5.7).</summary>
/// <param name="first">The wait after a first failure, and after a stream that had brought something.</param>
/// <param name="longest">The longest wait.</param>
/// <param name="jitter">The share by which a wait may be shorter; 0 to 1. Many clients of one server are not to come back together.</param>
/// <param name="random">The dice.</param>
internal sealed class Backoff(TimeSpan first, TimeSpan longest, double jitter, Random random)
{
    private int _failures;

    /// <summary>The last attempt was a good one.</summary>
    public void Reset() => _failures = 0;

    /// <summary>The next wait.</summary>
    public TimeSpan Next()
    {
        var wait = Math.Min(first.TotalMilliseconds * Math.Pow(2, _failures), longest.TotalMilliseconds);
        _failures = Math.Min(_failures + 1, 30);
        return TimeSpan.FromMilliseconds(wait * (1 - (jitter * random.NextDouble())));
    }
}
