using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>What telemetry says of itself. Ids 3120 to 3129; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(3120, LogLevel.Warning, "metric {Metric} has {Limit} series, as many as may be; measurements of further ones are dropped and counted in mesh_metrics_dropped_measurements_total")]
    public static partial void SeriesDropped(this ILogger logger, string metric, int limit);

    [LoggerMessage(3121, LogLevel.Debug, "instruments could not be read for a scrape")]
    public static partial void ObservationFailed(this ILogger logger, Exception error);

    [LoggerMessage(3122, LogLevel.Debug, "instrument {Instrument} is left out of the metrics: its name stands for another type already")]
    public static partial void InstrumentLeftOut(this ILogger logger, string instrument);
}
