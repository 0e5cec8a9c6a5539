using Mesh.Core.Identity;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.Server;

/// <summary>What the control plane says. Ids 4200 to 4299; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(4201, LogLevel.Information, "{Client} at {Peer} has opened a stream")]
    public static partial void StreamOpened(this ILogger logger, string client, string peer);

    [LoggerMessage(4202, LogLevel.Information, "The stream of {Client} at {Peer} has ended")]
    public static partial void StreamClosed(this ILogger logger, string client, string peer);

    [LoggerMessage(4203, LogLevel.Warning, "{Client} has refused resources of {Type}: {Detail}")]
    public static partial void Refused(this ILogger logger, string client, string type, string detail);

    [LoggerMessage(4204, LogLevel.Warning, "{Client} wants resources of {Type}, which are not served")]
    public static partial void TypeUnknown(this ILogger logger, string client, string type);

    [LoggerMessage(4205, LogLevel.Warning, "A client at {Peer} that is not known called {Path}")]
    public static partial void ClientUnknown(this ILogger logger, string peer, string path);

    [LoggerMessage(4206, LogLevel.Information, "Signed for {Client}: {Identity}, until {NotAfter:u}")]
    public static partial void CertificateSigned(this ILogger logger, string client, SpiffeId identity, DateTimeOffset notAfter);

    [LoggerMessage(4207, LogLevel.Warning, "Not signed for {Client}, who may not have it: {Identity}")]
    public static partial void CertificateRefused(this ILogger logger, string client, SpiffeId identity);

    [LoggerMessage(4208, LogLevel.Error, "A call of {Path} from {Peer} failed")]
    public static partial void CallFailed(this ILogger logger, string path, string peer, Exception error);

    [LoggerMessage(4209, LogLevel.Information, "{Path} read: {Clients} clients")]
    public static partial void ClientsRead(this ILogger logger, string path, int clients);

    [LoggerMessage(4210, LogLevel.Error, "{Path} cannot be used, the clients stay as they were: {Reason}")]
    public static partial void ClientsUnusable(this ILogger logger, string path, string reason);

    [LoggerMessage(4211, LogLevel.Debug, "A call of {Path} from {Peer} broke: {Reason}")]
    public static partial void ClientGone(this ILogger logger, string path, string peer, string reason);
}
