using System.Net;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>What the DNS proxy says; the log of questions has 3100. Ids 3100 to 3119; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(3101, LogLevel.Debug, "Message of {Client} over {Protocol} refused with {Code}: {Reason}")]
    public static partial void MessageRefused(this ILogger logger, IPEndPoint client, DnsProtocol protocol, DnsResponseCode code, string reason);

    [LoggerMessage(3102, LogLevel.Debug, "Message of {Client} over {Protocol} ignored: {Reason}")]
    public static partial void MessageIgnored(this ILogger logger, IPEndPoint client, DnsProtocol protocol, string reason);

    [LoggerMessage(3103, LogLevel.Debug, "Question of {Client} not answered: its workload is not known")]
    public static partial void ClientUnknown(this ILogger logger, IPEndPoint client, Exception error);

    [LoggerMessage(3104, LogLevel.Debug, "More than {Max} questions at once; further ones are answered SERVFAIL")]
    public static partial void TooManyQueries(this ILogger logger, int max);

    [LoggerMessage(3105, LogLevel.Debug, "More than {Max} questions wait for upstream servers; further ones are answered SERVFAIL")]
    public static partial void TooManyUpstreamQueries(this ILogger logger, int max);

    [LoggerMessage(3106, LogLevel.Debug, "More than {Max} TCP connections; further ones are closed")]
    public static partial void TooManyConnections(this ILogger logger, int max);

    [LoggerMessage(3107, LogLevel.Debug, "Upstream server {Server} does not answer: {Reason}")]
    public static partial void UpstreamFailed(this ILogger logger, IPEndPoint server, string reason);

    [LoggerMessage(3108, LogLevel.Debug, "{Client} is gone, or cannot be sent its answer")]
    public static partial void ClientLost(this ILogger logger, IPEndPoint client, Exception error);

    [LoggerMessage(3109, LogLevel.Error, "Cannot receive on {LocalEndPoint}; trying again")]
    public static partial void ReceiveFailed(this ILogger logger, IPEndPoint localEndPoint, Exception error);

    [LoggerMessage(3110, LogLevel.Warning, "No upstream server is known; names outside the mesh are answered SERVFAIL")]
    public static partial void NoUpstreamServers(this ILogger logger);

    [LoggerMessage(3111, LogLevel.Error, "Question of {Client} not answered: a fault of ours")]
    public static partial void HandlerFailed(this ILogger logger, IPEndPoint client, Exception error);
}
