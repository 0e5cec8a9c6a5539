using Mesh.Core.Identity;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>What the clients of certificate authorities say. Ids 4100 to 4199; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(4101, LogLevel.Warning, "The roots {Path} cannot be used, the connection to the authority stays as it is: {Reason}")]
    public static partial void RootsUnusable(this ILogger logger, string path, string reason);

    [LoggerMessage(4102, LogLevel.Information, "{TrustDomain} has {Count} roots from the authority")]
    public static partial void RootsChanged(this ILogger logger, TrustDomain trustDomain, int count);

    [LoggerMessage(4103, LogLevel.Information, "The SPIFFE agent at {Endpoint} has brought certificates of {Identities}")]
    public static partial void SvidsBrought(this ILogger logger, string endpoint, string identities);

    [LoggerMessage(4104, LogLevel.Warning, "No stream from the SPIFFE agent at {Endpoint}: {Reason}; next attempt in {Wait}")]
    public static partial void AgentStreamEnded(this ILogger logger, string endpoint, string reason, TimeSpan wait);

    [LoggerMessage(4105, LogLevel.Error, "The SPIFFE agent at {Endpoint} has sent what cannot be used: {Fault}")]
    public static partial void AgentFault(this ILogger logger, string endpoint, string fault);

    [LoggerMessage(4106, LogLevel.Debug, "The SPIFFE agent at {Endpoint} has no stream of bundles: {Reason}")]
    public static partial void NoBundles(this ILogger logger, string endpoint, string reason);
}
