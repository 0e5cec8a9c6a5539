using System.Diagnostics;
using System.Diagnostics.Metrics;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Dns;

/// <summary>How a client asks.</summary>
internal enum DnsProtocol
{
    Udp,
    Tcp,
}

/// <summary>The instruments of DNS proxies, one set for all of a process (ztunnel §10.2). Whoever collects adds <c>_total</c> to counters.</summary>
internal sealed class DnsMetrics
{
    /// <summary>The bounds of the histogram, in seconds.</summary>
    public static readonly IReadOnlyList<double> DurationBounds = [0.0005, 0.001, 0.01, 0.1, 1, 5];

    private const string Unknown = "unknown";
    private readonly Counter<long> _requests;
    private readonly Counter<long> _upstreamRequests;
    private readonly Counter<long> _upstreamFailures;
    private readonly Histogram<double> _upstreamDuration;

    public DnsMetrics(Meter meter)
    {
        _requests = meter.CreateCounter<long>("istio_dns_requests", description: "The total number of DNS requests (unstable)");
        _upstreamRequests = meter.CreateCounter<long>("istio_dns_upstream_requests", description: "The total number of DNS requests forwarded to upstream servers (unstable)");
        _upstreamFailures = meter.CreateCounter<long>("istio_dns_upstream_failures", description: "The total number of DNS requests that no upstream server answered (unstable)");
        _upstreamDuration = meter.CreateHistogram<double>(
            "istio_dns_upstream_request_duration_seconds",
            "s",
            "The time that upstream servers took, in seconds (unstable)",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = DurationBounds });
    }

    /// <summary>What a request is told apart by.</summary>
    public static TagList TagsOf(DnsQuestion question, DnsProtocol protocol, Workload client) =>
    [
        KeyValuePair.Create<string, object?>("request_query_type", question.Type.Tag()),
        KeyValuePair.Create<string, object?>("request_protocol", protocol is DnsProtocol.Tcp ? "tcp" : "udp"),
        KeyValuePair.Create<string, object?>("source_canonical_service", Known(client.CanonicalName)),
        KeyValuePair.Create<string, object?>("source_canonical_revision", Known(client.CanonicalRevision)),
    ];

    public void Requested(in TagList tags) => _requests.Add(1, tags);

    public void Forwarded(in TagList tags) => _upstreamRequests.Add(1, tags);

    public void Failed(in TagList tags) => _upstreamFailures.Add(1, tags);

    public void Took(TimeSpan duration, in TagList tags) => _upstreamDuration.Record(duration.TotalSeconds, tags);

    private static string Known(string value) => value.Length > 0 ? value : Unknown;
}
