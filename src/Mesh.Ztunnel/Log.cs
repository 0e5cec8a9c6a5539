using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>What the ztunnel says; the access log has 3001 to 3009. Ids 3000 to 3099; an id that dies is not used again.</summary>
internal static partial class Log
{
    [LoggerMessage(EventId = 3010, Message = "{Note}")]
    public static partial void DryRun(this ILogger logger, LogLevel level, string note);

    [LoggerMessage(EventId = 3028, Message = "{Reason}: {Connection}")]
    public static partial void PolicyDecided(this ILogger logger, LogLevel level, string reason, L4Connection connection);

    [LoggerMessage(3011, LogLevel.Information, "proxy of {Workload} listens on {Address}: inbound {HbonePort} and {PassthroughPort}, outbound {OutboundPort}, socks5 {Socks5}")]
    public static partial void Listening(this ILogger logger, WorkloadInfo workload, string address, int hbonePort, int passthroughPort, int outboundPort, string socks5);

    [LoggerMessage(3012, LogLevel.Information, "stopping: {Connections} connections may go on for {Deadline}")]
    public static partial void Draining(this ILogger logger, int connections, TimeSpan deadline);

    [LoggerMessage(3013, LogLevel.Error, "Cannot accept on {LocalEndPoint}; trying again")]
    public static partial void AcceptFailed(this ILogger logger, IPEndPoint localEndPoint, Exception error);

    [LoggerMessage(3014, LogLevel.Information, "ready")]
    public static partial void Ready(this ILogger logger);

    [LoggerMessage(3016, LogLevel.Warning, "the mesh does not know workload {Workload} on {Node}; its connections are refused until it does")]
    public static partial void WorkloadUnknown(this ILogger logger, WorkloadInfo workload, string node);

    [LoggerMessage(3017, LogLevel.Warning, "the address of {Client} is not kept towards {Destination}: {Error}")]
    public static partial void SourceNotKept(this ILogger logger, IPAddress client, IPEndPoint destination, string error);

    [LoggerMessage(3018, LogLevel.Warning, "endpoint {Endpoint} of {Service} is left out for a while: {Error}")]
    public static partial void EndpointEjected(this ILogger logger, string endpoint, NamespacedHostname service, string error);

    [LoggerMessage(3019, LogLevel.Information, "pod {Uid} ({Workload}) has its proxy")]
    public static partial void PodAdded(this ILogger logger, string uid, WorkloadInfo workload);

    [LoggerMessage(3020, LogLevel.Information, "pod {Uid} ({Workload}) is gone, and its proxy with it")]
    public static partial void PodRemoved(this ILogger logger, string uid, WorkloadInfo workload);

    [LoggerMessage(3021, LogLevel.Warning, "pod {Uid} ({Workload}) has no proxy yet, trying again: {Error}")]
    public static partial void PodPending(this ILogger logger, string uid, WorkloadInfo workload, string error);

    [LoggerMessage(3022, LogLevel.Information, "connected to the CNI agent at {Path}")]
    public static partial void CniConnected(this ILogger logger, string path);

    [LoggerMessage(3023, LogLevel.Warning, "no connection to the CNI agent at {Path}, trying again: {Error}")]
    public static partial void CniLost(this ILogger logger, string path, string error);

    [LoggerMessage(3024, LogLevel.Critical, "the CNI agent does not keep to its protocol: {Error}")]
    public static partial void CniBroken(this ILogger logger, string error);

    [LoggerMessage(3025, LogLevel.Warning, "still open at the deadline, and cut: {Direction} connection from {Source} to {Destination}, {Sent} octets sent, {Received} received")]
    public static partial void CutAtDeadline(this ILogger logger, string direction, IPEndPoint? source, IPEndPoint? destination, long sent, long received);

    [LoggerMessage(3026, LogLevel.Critical, "our own certificate of {Identity} is revoked (serial number {SerialNumber}): peers with the same revocation list will refuse it")]
    public static partial void OwnCertificateRevoked(this ILogger logger, SpiffeId identity, string serialNumber);

    [LoggerMessage(3027, LogLevel.Debug, "refused: {Explanation}")]
    private static partial void Refused(ILogger logger, string explanation);

    /// <summary>Says why nothing could be chosen, endpoint by endpoint.</summary>
    public static void Refused(this ILogger logger, OutboundPlan plan)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            Refused(logger, plan.Explain());
        }
    }
}
