using System.Globalization;
using Mesh.Core.Policy;
using Mesh.Ztunnel.Telemetry;
using static Mesh.Ztunnel.Admin.StatusColumnKind;

namespace Mesh.Ztunnel.Admin;

/// <summary>What the page for people shows, read from the running parts.</summary>
internal sealed class StatusTables(AdminContext context, ConnectionHistory history)
{
    /// <summary>How many rows of a table are told; the page shows fewer at a time.</summary>
    public const int MaxRows = 5000;

    private static readonly StatusColumn[] ConnectionColumns =
    [
        new("Direction", Word), new("Source"), new("Source identity"), new("Destination"), new("Destination identity"), new("Service"),
        new("Policy", Verdict), new("Why"), new("Sent", Octets), new("Received", Octets), new("Rate", OctetsPerSecond), new("Open for", Milliseconds),
    ];

    private static readonly StatusColumn[] FailedColumns =
    [
        new("Time", Time), new("Direction", Word), new("Source"), new("Source identity"), new("Destination"), new("Service or workload"), new("Verdict", Verdict), new("Why"),
    ];

    private static readonly StatusColumn[] TrafficColumns =
        [new("Source"), new("Destination"), new("Allowed", Count), new("Denied", Count), new("Failed", Count)];

    private static readonly StatusColumn[] CertificateColumns =
        [new("Identity"), new("State", Verdict), new("Valid from", Time), new("Expires", Time), new("Next request", Time), new("Last error")];

    private static readonly StatusColumn[] PolicyColumns =
        [new("Policy"), new("Scope", Word), new("Action", Word), new("Enforced", Word), new("Rules", Count), new("Allowed", Count), new("Denied", Count)];

    private static readonly StatusColumn[] WorkloadColumns =
        [new("UID"), new("Namespace"), new("Name"), new("Service account"), new("Proxy", Verdict), new("Inbound", Count), new("Outbound", Count)];

    public IReadOnlyList<StatusTable> Read() =>
    [
        Connections(),
        Table("refused", "Connections refused or failed of late", FailedColumns, history.Failed, Failed),
        Table("traffic", "Who talks to whom, since the start", TrafficColumns, history.Traffic.OrderByDescending(pair => pair.Allowed + pair.Denied + pair.Failed).ToList(), Traffic),
        Table("policies", "Authorization policies and how often they decided", PolicyColumns, Policies(), row => row),
        Table("certificates", "Certificates", CertificateColumns, context.Certificates.Status, Certificate),
        Table("workloads", "Workloads that this ztunnel acts for", WorkloadColumns, context.Proxies().OrderBy(proxy => proxy.Uid, StringComparer.Ordinal).ToList(), Workload),
    ];

    private static StatusTable Table<T>(string id, string caption, StatusColumn[] columns, IReadOnlyCollection<T> items, Func<T, StatusRow> row) =>
        new(id, caption, columns, items.Count, [.. items.Take(MaxRows).Select(row)]);

    // Newest first: who looks has just seen something happen.
    private StatusTable Connections() => Table(
        "connections",
        "Open connections",
        ConnectionColumns,
        context.Connections.Select(connection => connection.Record).OfType<ConnectionRecord>().OrderByDescending(record => record.Id).ToList(),
        record => new StatusRow(
            Key(record.Id),
            Direction(record),
            Party(record.Source, record.SourceWorkload),
            record.SourceIdentity?.ToString(),
            Target(record),
            record.DestinationIdentity?.ToString(),
            record.DestinationService?.Key.ToString(),
            ConnectionText.Verdict(record),
            ConnectionText.Why(record),
            (double)record.BytesSent,
            (double)record.BytesReceived,
            (string?)null,
            context.Time.GetElapsedTime(record.BeganAt).TotalMilliseconds));

    private static StatusRow Failed(FailedConnection failed) => new(
        Key(failed.Record.Id),
        (DateTimeOffset?)failed.At,
        Direction(failed.Record),
        Party(failed.Record.Source, failed.Record.SourceWorkload),
        failed.Record.SourceIdentity?.ToString(),
        Target(failed.Record),
        ConnectionText.Destination(failed.Record),
        ConnectionText.Verdict(failed.Record),
        ConnectionText.Why(failed.Record));

    private static StatusRow Traffic(TrafficCount pair) =>
        new($"{pair.Source}\n{pair.Destination}", pair.Source, pair.Destination, (double)pair.Allowed, (double)pair.Denied, (double)pair.Failed);

    private List<StatusRow> Policies()
    {
        var counts = history.Policies.ToDictionary(count => count.Policy);
        var policies = context.State.Current.Policies.Policies.ToDictionary(policy => policy.Key);
        return [.. policies.Keys.Union(counts.Keys).Order(StringComparer.Ordinal).Select(key => Policy(key, policies.GetValueOrDefault(key), counts.GetValueOrDefault(key)))];
    }

    private static StatusRow Policy(string key, L4Authorization? policy, PolicyCount? count) => new(
        key,
        key.Length > 0 ? key : "(no single policy)",
        policy?.Scope switch { null => "", AuthorizationScope.Global => "mesh", AuthorizationScope.Namespace => "namespace", _ => "workloads that list it" },
        policy?.Action switch { null => "", AuthorizationAction.Deny => "DENY", _ => "ALLOW" },
        policy is { } there ? there.DryRun ? "no, dry run" : "yes" : key.Length > 0 ? "no, it is gone" : "",
        policy is null ? (string?)null : (double)policy.Rules.Length,
        (double)(count?.Allowed ?? 0),
        (double)(count?.Denied ?? 0));

    private static StatusRow Certificate(Core.Identity.WorkloadCertificateStatus status) => new(
        status.Identity.ToString(),
        status.Identity.ToString(),
        status.Certificate is not null ? "available" : status.Error is not null ? "failed" : "connecting",
        status.Certificate?.NotBefore,
        status.Certificate?.NotAfter,
        status.NextRequestAt is var next && next > DateTimeOffset.UnixEpoch ? (DateTimeOffset?)next : null,
        ConnectionText.Bounded(status.Error));

    private static StatusRow Workload(ProxyStatus proxy)
    {
        var connections = proxy.Proxy?.Connections ?? [];
        return new StatusRow(
            proxy.Uid,
            proxy.Uid,
            proxy.Info.Namespace,
            proxy.Info.Name,
            proxy.Info.ServiceAccount,
            proxy.State,
            (double)connections.Count(connection => connection.Direction is ConnectionDirection.Inbound),
            (double)connections.Count(connection => connection.Direction is ConnectionDirection.Outbound));
    }

    private static string Direction(ConnectionRecord record) => record.Direction is ConnectionDirection.Outbound ? "outbound" : "inbound";

    private static string Party(System.Net.IPEndPoint address, Core.Workloads.Workload? workload) =>
        workload is { Name.Length: > 0 } ? $"{workload.Namespace}/{workload.Name} {address}" : address.ToString();

    private static string Target(ConnectionRecord record)
    {
        var address = record.OriginalDestination?.ToString() ?? record.HboneAddress ?? record.Destination?.ToString() ?? "";
        return ConnectionText.Bounded(record.DestinationWorkload is { Name.Length: > 0 } workload ? $"{workload.Namespace}/{workload.Name} {address}" : address);
    }

    private static string Key(long id) => id.ToString(CultureInfo.InvariantCulture);
}
