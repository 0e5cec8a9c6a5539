using System.Diagnostics;
using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>One span for each connection, when somebody listens: the outbound one is told to the next proxy, whose own becomes its child.</summary>
internal static class ConnectionTracing
{
    /// <summary>The name of the source, for those who collect.</summary>
    public const string SourceName = "Mesh.Ztunnel";

    private static readonly ActivitySource Source = new(SourceName);

    public static ConnectionSpan StartOutbound(ConnectionRecord record, Workload local, IPEndPoint destination)
    {
        var activity = Source.StartActivity("outbound", ActivityKind.Client);
        activity?.SetTag("source.address", record.Source.ToString());
        activity?.SetTag("k8s.pod.name", local.Name);
        activity?.SetTag("k8s.namespace.name", local.Namespace);
        activity?.SetTag("server.address", destination.ToString());
        return new ConnectionSpan(activity, record);
    }

    public static ConnectionSpan StartInbound(ConnectionRecord record, string? traceParent)
    {
        var isChild = ActivityContext.TryParse(traceParent, null, isRemote: true, out var parent);
        var activity = Source.StartActivity("inbound", ActivityKind.Server, isChild ? parent : default);
        activity?.SetTag("source.address", record.Source.ToString());
        activity?.SetTag("server.address", record.HboneAddress);
        return new ConnectionSpan(activity, record);
    }
}

/// <summary>The span of one connection; nothing when nobody listens. Disposing it ends it, with what became of the connection.</summary>
internal readonly struct ConnectionSpan(Activity? activity, ConnectionRecord record) : IDisposable
{
    /// <summary>What the next proxy is to be told: a W3C trace parent; null when nobody listens.</summary>
    public string? TraceParent => activity?.Id;

    public void Dispose()
    {
        if (activity is null)
        {
            return;
        }

        activity.SetTag("mesh.source.principal", record.SourceIdentity?.ToString());
        activity.SetTag("mesh.destination.principal", record.DestinationIdentity?.ToString());
        activity.SetTag("mesh.destination.service", record.DestinationService?.Hostname);
        activity.SetTag("mesh.destination.workload", record.DestinationWorkload?.Uid);
        activity.SetTag("mesh.bytes_sent", record.BytesSent);
        activity.SetTag("mesh.bytes_received", record.BytesReceived);
        activity.SetTag("mesh.decision", record.Decision?.Reason ?? record.Why);
        activity.SetStatus(record.Outcome is ConnectionOutcome.Complete ? ActivityStatusCode.Ok : ActivityStatusCode.Error, record.Error);
        activity.Dispose();
    }
}
