using Microsoft.Extensions.Logging;

namespace Mesh.Core.Identity;

/// <summary>What the certificate cache says. Ids 1000 to 1099; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(1001, LogLevel.Information, "Certificate of {Identity} issued, valid until {NotAfter:u}, renewal at {NextRequestAt:u}")]
    public static partial void CertificateIssued(this ILogger logger, SpiffeId identity, DateTimeOffset notAfter, DateTimeOffset nextRequestAt);

    [LoggerMessage(1002, LogLevel.Warning, "Certificate of {Identity} could not be had, next attempt at {NextRequestAt:u}; the old one still serves: {OldServes}")]
    public static partial void CertificateFailed(this ILogger logger, SpiffeId identity, DateTimeOffset nextRequestAt, bool oldServes, Exception error);

    [LoggerMessage(1003, LogLevel.Debug, "Certificate of {Identity} forgotten")]
    public static partial void CertificateForgotten(this ILogger logger, SpiffeId identity);

    [LoggerMessage(1004, LogLevel.Information, "{Path} read: {Lists} revocation lists, {Certificates} revoked certificates")]
    public static partial void RevocationListsRead(this ILogger logger, string path, int lists, int certificates);

    [LoggerMessage(1005, LogLevel.Warning, "{Path} cannot be read, the revocation lists stay as they were: {Error}")]
    public static partial void RevocationListsUnreadable(this ILogger logger, string path, string error);

    [LoggerMessage(1006, LogLevel.Debug, "The authority has no newer certificate of {Identity} than that which is valid until {NotAfter:u}, next attempt at {NextRequestAt:u}")]
    public static partial void CertificateUnchanged(this ILogger logger, SpiffeId identity, DateTimeOffset notAfter, DateTimeOffset nextRequestAt);
}
