using System.Globalization;

namespace Mesh.Ztunnel;

/// <summary>How many threads poll sockets and carry what comes (ztunnel §13, ZTUNNEL_WORKER_THREADS).</summary>
internal static class WorkerThreads
{
    /// <summary>Read by the runtime when the first socket waits for something.</summary>
    public const string RuntimeVariable = "DOTNET_SYSTEM_NET_SOCKETS_THREAD_COUNT";

    /// <summary>What the setting may be.</summary>
    public const string Allowed = "a whole number from 0 (all processors) to 1024, or a percentage of the processors, for example 50%";

    private const int Most = 1024;

    /// <summary>Reads the setting; false when it is not allowed.</summary>
    /// <param name="value">The setting; null when there is none.</param>
    /// <param name="request">How many processors are promised to us; 0 when that is not known.</param>
    /// <param name="limit">How many processors we may use; 0 when that is not known.</param>
    /// <param name="processors">How many there are.</param>
    /// <param name="count">How many threads.</param>
    public static bool TryRead(string? value, int request, int limit, int processors, out int count)
    {
        count = 0;
        if (value is null)
        {
            count = limit > 0 ? Math.Max(limit, request) : Math.Max(Math.Max((processors + 3) / 4, request), 2);
            return true;
        }

        var isPercent = value.EndsWith('%');
        if (!int.TryParse(isPercent ? value.AsSpan(0, value.Length - 1) : value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number > Most || (isPercent && (number < 1 || number > 100)))
        {
            return false;
        }

        count = isPercent ? Math.Max((processors * number + 99) / 100, 1) : number == 0 ? processors : number;
        return true;
    }
}
