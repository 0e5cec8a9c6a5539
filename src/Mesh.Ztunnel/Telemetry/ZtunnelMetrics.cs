using System.Diagnostics.Metrics;
using System.Reflection;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>The instruments of the ztunnel, with the names, labels and types of Istio's (ztunnel §10.2). Whoever collects adds <c>_total</c> to counters.</summary>
public sealed class ZtunnelMetrics : IDisposable
{
    /// <summary>The name of the meter.</summary>
    public const string MeterName = "Mesh.Ztunnel";

    private const string Unknown = "unknown";

    private readonly Meter _meter;
    private readonly Counter<long> _opened;
    private readonly Counter<long> _closed;
    private readonly Counter<long> _failed;
    private readonly Counter<long> _received;
    private readonly Counter<long> _sent;
    private readonly UpDownCounter<long> _socketsOpen;
    private readonly Counter<long> _onDemandDns;
    private readonly Counter<long> _retries;
    private readonly Counter<long> _certificateRejections;
    private readonly SharedLabels _labels = new(static ends => Labels(ends, ResponseFlag.None));

    /// <summary>Makes the instruments, and counts what an access log records.</summary>
    public ZtunnelMetrics(IMeterFactory meters, AccessLog accessLog)
    {
        ArgumentNullException.ThrowIfNull(meters);
        ArgumentNullException.ThrowIfNull(accessLog);
        _meter = meters.Create(MeterName);
        _opened = _meter.CreateCounter<long>("istio_tcp_connections_opened", description: "The total number of TCP connections opened");
        _closed = _meter.CreateCounter<long>("istio_tcp_connections_closed", description: "The total number of TCP connections closed");
        _failed = _meter.CreateCounter<long>("istio_tcp_connections_failed", description: "The total number of TCP connections that failed (unstable)");
        _received = _meter.CreateCounter<long>("istio_tcp_received_bytes", description: "The total number of bytes received, in requests");
        _sent = _meter.CreateCounter<long>("istio_tcp_sent_bytes", description: "The total number of bytes sent, in responses");
        _socketsOpen = _meter.CreateUpDownCounter<long>("istio_tcp_sockets_open", description: "The number of proxied connections that are open (unstable)");
        _onDemandDns = _meter.CreateCounter<long>("istio_on_demand_dns", description: "The total number of host names resolved for connections (unstable)");
        _retries = _meter.CreateCounter<long>("mesh_connect_retries", description: "The total number of further endpoints that were tried (unstable)");
        _certificateRejections = _meter.CreateCounter<long>("istio_crl_policy_rejections", description: "The total number of connections rejected or closed for a revoked certificate (unstable)");
        _meter.CreateObservableGauge("istio_build", ReadBuild, description: "The version of what runs (unstable)");
        _meter.CreateObservableGauge("process_open_fds", static () => CountFiles("/proc/self/fd"), description: "The number of open file descriptors (unstable)");
        _meter.CreateObservableGauge("process_max_fds", static () => ReadMaxFiles(), description: "The number of file descriptors that may be open (unstable)");
        accessLog.Began += (_, record) => Began(record);
        accessLog.Recorded += (_, record) => Ended(record);
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    /// <summary>Counts the octets of a connection that goes on.</summary>
    internal void CountBytes(ConnectionRecord record)
    {
        if (!record.WasOpened)
        {
            return;
        }

        lock (record)
        {
            // Labels are many; who is idle needs none.
            if (record.BytesSent + record.BytesReceived != record.CountedRequestBytes + record.CountedResponseBytes)
            {
                CountBytes_NeedsLock(record, LabelsOfOpen(record));
            }
        }
    }

    internal void ResolvedOnDemand(Workload source, string hostname) => _onDemandDns.Add(1, [.. SourceLabels(Party.Of(source, null, source.Identity)), new("hostname", hostname)]);

    internal static KeyValuePair<string, object?>[] Labels(in ConnectionEnds ends, ResponseFlag flag)
    {
        // Whoever was refused is not believed what it says of itself: it could make labels without end.
        var source = Party.Of(ends.SourceWorkload, ends.WasOpened ? ends.SourceBaggage : null, ends.SourceIdentity);
        var destination = Party.Of(ends.DestinationWorkload, ends.WasOpened ? ends.DestinationBaggage : null, ends.DestinationIdentity);
        var service = ends.Service;
        var isSecure = ends is { SourceIdentity: not null, IsTunnelled: true };
        KeyValuePair<string, object?>[] labels =
        [
            new("reporter", Reporter(ends.Direction)),
            .. SourceLabels(source),
            new("destination_service", service?.Hostname ?? Unknown),
            new("destination_service_namespace", service?.Namespace ?? Unknown),
            new("destination_service_name", service?.Name ?? Unknown),
            new("destination_workload", destination.Workload),
            new("destination_canonical_service", destination.CanonicalService),
            new("destination_canonical_revision", destination.Version),
            new("destination_workload_namespace", destination.Namespace),
            new("destination_principal", destination.Principal),
            new("destination_app", destination.App),
            new("destination_version", destination.Version),
            new("destination_cluster", destination.Cluster),
            new("request_protocol", "tcp"),
            new("response_flags", Text(flag)),
            new("connection_security_policy", isSecure ? "mutual_tls" : Unknown),
            new("source_region", source.Region),
            new("source_zone", source.Zone),
            new("destination_region", destination.Region),
            new("destination_zone", destination.Zone),
        ];

        // Of whom nothing is known there is no place.
        return source.IsKnown || destination.IsKnown ? labels : labels[..^4];
    }

    private void Began(ConnectionRecord record)
    {
        _opened.Add(1, LabelsOfOpen(record));
        _socketsOpen.Add(1, new KeyValuePair<string, object?>("reporter", Reporter(record.Direction)));
    }

    private void Ended(ConnectionRecord record)
    {
        if (record.WasOpened)
        {
            _socketsOpen.Add(-1, new KeyValuePair<string, object?>("reporter", Reporter(record.Direction)));
        }
        else
        {
            // Refused connections count too, so that opened and closed ones meet.
            _opened.Add(1, LabelsOfOpen(record));
        }

        var labels = record.Flag is ResponseFlag.None ? LabelsOfOpen(record) : Labels(new ConnectionEnds(record), record.Flag);
        _closed.Add(1, labels);
        if (record.Flag is not ResponseFlag.None)
        {
            _failed.Add(1, labels);
        }

        if (record.Flag is ResponseFlag.CertificateRevoked)
        {
            _certificateRejections.Add(1, new KeyValuePair<string, object?>("reporter", Reporter(record.Direction)));
        }

        if (record.Retries > 0)
        {
            _retries.Add(record.Retries, new KeyValuePair<string, object?>("destination_service", record.DestinationService?.Hostname ?? Unknown));
        }

        lock (record)
        {
            CountBytes_NeedsLock(record, LabelsOfOpen(record));
        }
    }

    // Requests count as received and responses as sent, whoever reports (ztunnel §10.2).
    private void CountBytes_NeedsLock(ConnectionRecord record, KeyValuePair<string, object?>[] labels)
    {
        var (request, response) = record.Direction is ConnectionDirection.Outbound
            ? (record.BytesSent, record.BytesReceived)
            : (record.BytesReceived, record.BytesSent);
        Add(_received, request - record.CountedRequestBytes);
        Add(_sent, response - record.CountedResponseBytes);
        record.CountedRequestBytes = request;
        record.CountedResponseBytes = response;

        void Add(Counter<long> counter, long count)
        {
            if (count > 0)
            {
                counter.Add(count, labels);
            }
        }
    }

    private static string Reporter(ConnectionDirection direction) => direction is ConnectionDirection.Outbound ? "source" : "destination";

    // Those of all that is counted of a connection before it fails. Who is at its ends is known by then.
    private KeyValuePair<string, object?>[] LabelsOfOpen(ConnectionRecord record) => record.Labels ??= _labels.Of(new ConnectionEnds(record));

    private static KeyValuePair<string, object?>[] SourceLabels(Party source) =>
    [
        new("source_workload", source.Workload),
        new("source_canonical_service", source.CanonicalService),
        new("source_canonical_revision", source.Version),
        new("source_workload_namespace", source.Namespace),
        new("source_principal", source.Principal),
        new("source_app", source.App),
        new("source_version", source.Version),
        new("source_cluster", source.Cluster),
    ];

    private static string Text(ResponseFlag flag) => flag switch
    {
        ResponseFlag.None => "-",
        ResponseFlag.Deny => "DENY",
        ResponseFlag.Connect => "CONNECT",
        ResponseFlag.TlsFailure => "TLS_FAILURE",
        ResponseFlag.Http2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
        ResponseFlag.NetworkPolicy => "NETWORK_POLICY",
        ResponseFlag.IdentityError => "IDENTITY_ERROR",
        ResponseFlag.CertificateRevoked => "CERT_REVOKED",
        _ => "OVERFLOW",
    };

    private static Measurement<long> ReadBuild() => new(
        1,
        new KeyValuePair<string, object?>("component", "ztunnel"),
        new KeyValuePair<string, object?>("tag", Environment.GetEnvironmentVariable("ISTIO_META_ISTIO_VERSION") ?? Unknown),
        new KeyValuePair<string, object?>("version", typeof(ZtunnelMetrics).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? Unknown));

    private static IEnumerable<Measurement<long>> CountFiles(string directory) =>
        Directory.Exists(directory) ? [new Measurement<long>(Directory.EnumerateFileSystemEntries(directory).LongCount())] : [];

    private static IEnumerable<Measurement<long>> ReadMaxFiles()
    {
        const string Limits = "/proc/self/limits";
        var line = File.Exists(Limits) ? File.ReadLines(Limits).FirstOrDefault(text => text.StartsWith("Max open files", StringComparison.Ordinal)) : null;
        return long.TryParse(line?.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3], out var limit) ? [new Measurement<long>(limit)] : [];
    }

    /// <summary>One side of a connection, as labels describe it. What the mesh knows goes before what the peer says of itself.</summary>
    private sealed record Party(string Workload, string Namespace, string CanonicalService, string App, string Version, string Cluster, string Principal, string Region, string Zone, bool IsKnown)
    {
        public static Party Of(Workload? workload, Baggage? baggage, SpiffeId? identity)
        {
            if (workload is not null)
            {
                return new(
                    OrUnknown(workload.WorkloadName), OrUnknown(workload.Namespace), OrUnknown(workload.CanonicalName), OrUnknown(workload.CanonicalName), OrUnknown(workload.CanonicalRevision),
                    OrUnknown(workload.ClusterId), identity?.ToString() ?? Unknown, OrUnknown(workload.Locality.Region), OrUnknown(workload.Locality.Zone), IsKnown: true);
            }

            // Without a name a series could not be told to be of somebody who is gone. The application's name is not in baggage: the workload's stands for it (ztunnel §10.2).
            return baggage is { WorkloadName.Length: > 0, NamespaceName.Length: > 0 }
                ? new(
                    baggage.WorkloadName, baggage.NamespaceName, OrUnknown(baggage.ServiceName), baggage.WorkloadName, OrUnknown(baggage.ServiceVersion),
                    OrUnknown(baggage.ClusterName), identity?.ToString() ?? Unknown, OrUnknown(baggage.Region), OrUnknown(baggage.Zone), IsKnown: true)
                : new(Unknown, Unknown, Unknown, Unknown, Unknown, Unknown, identity?.ToString() ?? Unknown, Unknown, Unknown, IsKnown: false);
        }

        private static string OrUnknown(string? text) => text is { Length: > 0 } ? text : Unknown;
    }
}
