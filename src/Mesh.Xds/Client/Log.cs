using Microsoft.Extensions.Logging;

namespace Mesh.Xds.Client;

/// <summary>What the xDS client says. Ids 4000 to 4099; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(4001, LogLevel.Information, "Supplied by the control plane {Address}")]
    public static partial void Connected(this ILogger logger, Uri address);

    [LoggerMessage(4002, LogLevel.Warning, "No stream from the control plane {Address}: {Reason}; next attempt in {Wait}")]
    public static partial void StreamEnded(this ILogger logger, Uri address, string reason, TimeSpan wait);

    [LoggerMessage(4003, LogLevel.Error, "The control plane sent {Count} faults in resources of {Type}, refused: {Detail}")]
    public static partial void ResourcesRefused(this ILogger logger, string type, int count, string detail);

    [LoggerMessage(4004, LogLevel.Warning, "The control plane sent resources of {Type}, which nobody asked for")]
    public static partial void TypeUnknown(this ILogger logger, string type);

    [LoggerMessage(4005, LogLevel.Error, "A message of {Type} could not be applied")]
    public static partial void HandlerFailed(this ILogger logger, string type, Exception error);

    [LoggerMessage(4006, LogLevel.Debug, "No stream from the control plane {Address}, as before: {Reason}; next attempt in {Wait}")]
    public static partial void StreamEndedAlike(this ILogger logger, Uri address, string reason, TimeSpan wait);

    [LoggerMessage(4007, LogLevel.Warning, "The control plane {Address} has taken the stream and has not answered for {Silence}")]
    public static partial void NoAnswer(this ILogger logger, Uri address, TimeSpan silence);

    [LoggerMessage(4008, LogLevel.Information, "The control plane has not named {Count} resources of {Type} that were held, and was not told of: removed")]
    public static partial void NotNamed(this ILogger logger, string type, int count);
}
