namespace Mesh.Hbone.Http2;

/// <summary>What a peer may ask of us without carrying anything: it fills with time and with data, and who exhausts it loses the connection.</summary>
/// <remarks>
/// Every frame counted here is legal, and a peer may need some of it: pings, settings, window updates, requests that it gives up. What no peer needs is
/// thousands of them with no data beside them (CVE-2019-9512, 9513, 9515, 9518, CVE-2023-44487, CVE-2025-8671). The connection's reader charges;
/// its writer may fund at the same time.
/// </remarks>
/// <param name="time">The clock.</param>
internal sealed class FloodBudget(TimeProvider time)
{
    /// <summary>PING, PRIORITY, a frame of unknown type, DATA without data, a frame for a stream that has ended.</summary>
    public const int IdleFrame = 10;

    /// <summary>SETTINGS, for each of which every open stream is visited.</summary>
    public const int Settings = 40;

    /// <summary>WINDOW_UPDATE; many come where much is sent, and that funds them.</summary>
    public const int WindowUpdate = 5;

    /// <summary>A request that was given up before it was answered, or that is over the limit of streams.</summary>
    public const int WastedRequest = 25;

    /// <summary>A fault of the peer that makes us reset a stream.</summary>
    public const int StreamFault = 50;

    // A thousand pings at once, two hundred a second.
    private const long Capacity = 10_000;
    private const long RefillPerSecond = 2_000;

    // A ping for each five kibibytes; a window update for each two and a half.
    private const int OctetsPerUnit = 512;

    private long _left = Capacity;
    private long _since = time.GetTimestamp();
    private long _carried;

    /// <summary>Counts data that was sent or received.</summary>
    public void Fund(int octets) => Interlocked.Add(ref _carried, octets);

    /// <summary>Takes from the budget.</summary>
    /// <param name="cost">One of the constants.</param>
    /// <param name="what">What is charged for, for the message.</param>
    /// <exception cref="Http2ConnectionException">The budget is exhausted.</exception>
    public void Charge(int cost, string what)
    {
        _left -= cost;
        if (_left >= 0)
        {
            return;
        }

        var now = time.GetTimestamp();
        var refill = (long)(time.GetElapsedTime(_since, now).TotalSeconds * RefillPerSecond) + (Interlocked.Exchange(ref _carried, 0) / OctetsPerUnit);
        _since = now;
        _left = Math.Min(Capacity, Math.Max(_left + cost, 0) + refill) - cost;
        if (_left < 0)
        {
            throw new Http2ConnectionException(Http2ErrorCode.EnhanceYourCalm, $"a flood: too much of {what} and the like, with too little data beside it");
        }
    }
}
