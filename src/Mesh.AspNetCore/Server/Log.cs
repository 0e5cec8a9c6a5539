using System.Net;
using Mesh.Core.Identity;
using Microsoft.Extensions.Logging;

namespace Mesh.AspNetCore.Server;

/// <summary>What the endpoint says. Ids 4000 to 4099; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(4000, LogLevel.Information, "Tunnel of {Peer} to {Authority} refused with {Status}: {Reason}")]
    public static partial void RequestRefused(this ILogger logger, SpiffeId peer, string authority, int status, string reason);

    [LoggerMessage(4001, LogLevel.Debug, "Tunnel of {Peer} from {Address} closed before its first request: {Reason}")]
    public static partial void TunnelUnused(this ILogger logger, SpiffeId peer, IPEndPoint address, string reason);

    [LoggerMessage(4002, LogLevel.Information, "Tunnel of {Peer} from {Address} cut, for the policies have changed: {Reason}")]
    public static partial void TunnelCut(this ILogger logger, SpiffeId peer, IPEndPoint address, string reason);
}
