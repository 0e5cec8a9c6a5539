using System.Diagnostics;

namespace Mesh.Ztunnel.Telemetry;

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
