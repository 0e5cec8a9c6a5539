using System.Net;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>What administration says. Ids 3130 to 3149; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(3130, LogLevel.Information, "log level is now {Levels}, set by {Client}")]
    public static partial void LogLevelSet(this ILogger logger, string levels, IPEndPoint client);

    [LoggerMessage(3131, LogLevel.Information, "asked to end by {Client}")]
    public static partial void EndRequested(this ILogger logger, IPEndPoint client);

    [LoggerMessage(3132, LogLevel.Warning, "a request for {Path} was refused: {Reason}")]
    public static partial void RequestRefused(this ILogger logger, string path, string reason);

    [LoggerMessage(3133, LogLevel.Error, "a request for {Path} failed")]
    public static partial void RequestFailed(this ILogger logger, string path, Exception error);
}
