using Microsoft.Extensions.Logging;

namespace Mesh.Hbone.Http2;

/// <summary>What the HTTP/2 engine says. Ids 2000 to 2099; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(2001, LogLevel.Warning, "Connection {ConnectionId} closed, no answer to PING in {Timeout}; {Tunnels} tunnels lost")]
    public static partial void PeerDead(this ILogger logger, long connectionId, TimeSpan timeout, int tunnels);

    [LoggerMessage(2002, LogLevel.Warning, "Connection {ConnectionId} closed, the peer broke the protocol ({Code}): {Fault}")]
    public static partial void ProtocolBroken(this ILogger logger, long connectionId, Http2ErrorCode code, string fault);

    [LoggerMessage(2003, LogLevel.Debug, "Connection {ConnectionId}: the peer is going away ({Code}), last stream {LastStreamId}")]
    public static partial void GoAwayReceived(this ILogger logger, long connectionId, Http2ErrorCode code, int lastStreamId);
}
