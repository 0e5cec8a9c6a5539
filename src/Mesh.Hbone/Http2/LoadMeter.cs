namespace Mesh.Hbone.Http2;

/// <summary>Tells when one direction of a connection carries so much that a processor has its hands full with it. Reads the clock rarely. Not thread-safe.</summary>
/// <param name="time">The clock.</param>
internal sealed class LoadMeter(TimeProvider time)
{
    // A quarter of a second at a tenth of what one processor can do.
    private const long Span = 16 * 1024 * 1024;
    private static readonly TimeSpan BusySpanTime = TimeSpan.FromMilliseconds(250);

    // What a system call and a TLS record cost, in octets.
    private const int OperationCost = 8 * 1024;

    private long _load;
    private long _since = time.GetTimestamp();

    /// <summary>Counts one read or write; true when the last 16 MiB, or as much in small operations, took less than a quarter of a second.</summary>
    public bool Count(int octets)
    {
        _load += octets + OperationCost;
        if (_load < Span)
        {
            return false;
        }

        var now = time.GetTimestamp();
        var busy = time.GetElapsedTime(_since, now) < BusySpanTime;
        _load = 0;
        _since = now;
        return busy;
    }
}
