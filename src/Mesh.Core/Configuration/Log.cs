using Microsoft.Extensions.Logging;

namespace Mesh.Core.Configuration;

/// <summary>What the local file says. Ids 1100 to 1199; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(1101, LogLevel.Information, "{File} applied: {Workloads} workloads, {Services} services, {Policies} policies")]
    public static partial void ConfigurationApplied(this ILogger logger, string file, int workloads, int services, int policies);

    [LoggerMessage(1102, LogLevel.Error, "Edit not applied, the last good state stays: {Diagnostic}")]
    public static partial void ConfigurationRejected(this ILogger logger, ConfigurationDiagnostic diagnostic);

    [LoggerMessage(1103, LogLevel.Error, "{File} was not applied, the last good state stays: {Reason}")]
    public static partial void ConfigurationUnreadable(this ILogger logger, string file, string reason);

    [LoggerMessage(1104, LogLevel.Warning, "{File} cannot be watched; edits are looked for every second")]
    public static partial void WatchUnavailable(this ILogger logger, string file, Exception error);
}
