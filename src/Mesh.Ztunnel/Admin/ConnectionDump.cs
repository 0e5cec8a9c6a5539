using System.IO.Pipelines;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Admin;

/// <summary>The connections that are open, with what is known of each: who talks to whom, under which identity, why it may.</summary>
internal sealed class ConnectionDump(AdminContext context, PipeWriter output) : JsonDump(output)
{
    public async Task WriteAsync(CancellationToken cancellationToken)
    {
        await ListAsync(null, context.Connections.Select(connection => connection.Record).OfType<ConnectionRecord>().OrderBy(record => record.Id), Connection, cancellationToken);
        await FlushAsync(0, cancellationToken);
    }

    private void Connection(ConnectionRecord record)
    {
        Json.WriteStartObject();
        Json.WriteNumber("id", record.Id);
        Json.WriteString("direction", record.Direction is ConnectionDirection.Outbound ? "outbound" : "inbound");
        Object("source", () => Party(record.Source.ToString(), record.SourceWorkload, record.SourceIdentity));
        Object("destination", () => Party(record.Destination?.ToString(), record.DestinationWorkload, record.DestinationIdentity));
        Optional("service", record.DestinationService?.Key.ToString());
        Optional("originalDestination", record.OriginalDestination?.ToString());
        Optional("hboneAddress", record.HboneAddress);
        Optional("why", record.Why);
        if (record.Decision is { } decision)
        {
            Object("decision", () =>
            {
                Json.WriteBoolean("allowed", decision is L4Decision.Allowed);
                Optional("policy", decision.Policy);
                Json.WriteString("reason", decision.Reason);
            });
        }

        Json.WriteBoolean("opened", record.WasOpened);
        Json.WriteNumber("bytesSent", record.BytesSent);
        Json.WriteNumber("bytesReceived", record.BytesReceived);
        Json.WriteNumber("durationMs", (long)context.Time.GetElapsedTime(record.BeganAt).TotalMilliseconds);
        Json.WriteEndObject();
    }

    private void Party(string? address, Workload? workload, SpiffeId? identity)
    {
        Optional("address", address);
        Optional("workload", workload?.Name);
        Optional("namespace", workload?.Namespace);
        Optional("identity", identity?.ToString());
    }
}
