using System.Net;
using Microsoft.Extensions.Logging;

namespace Mesh.Hbone.Server;

/// <summary>What the listener says. Ids 2100 to 2199; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(2101, LogLevel.Debug, "Connection from {RemoteEndPoint} failed before its first request: {Reason}")]
    public static partial void ConnectionFailed(this ILogger logger, IPEndPoint remoteEndPoint, string reason);

    [LoggerMessage(2102, LogLevel.Error, "Cannot accept on {LocalEndPoint}; trying again")]
    public static partial void AcceptFailed(this ILogger logger, IPEndPoint localEndPoint, Exception error);
}
