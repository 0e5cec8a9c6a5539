using System.Diagnostics;
using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>One span for each connection, when somebody listens: the outbound one is told to the next proxy, whose own becomes its child.</summary>
internal static class ConnectionTracing
{
    /// <summary>The name of the source, for those who collect.</summary>
    public const string SourceName = "Mesh.Ztunnel";

    /// <summary>The header by which the next proxy is told (W3C Trace Context).</summary>
    public const string HeaderName = "traceparent";

    private static readonly ActivitySource Source = new(SourceName);

    /// <summary>The header of a connection that nobody traces here, so that the next proxy can.</summary>
    public static string NewTraceParent(Random random)
    {
        const string Version = "00-";
        const string NotSampled = "-00";
        const int TraceIdSize = 16;
        const int SpanIdSize = 8;
        return string.Create(Version.Length + (2 * TraceIdSize) + 1 + (2 * SpanIdSize) + NotSampled.Length, random, static (text, random) =>
        {
            // It has to be different from others, not unknown to them.
            Span<byte> octets = stackalloc byte[TraceIdSize + SpanIdSize];
            random.NextBytes(octets);
            Version.CopyTo(text);
            Convert.TryToHexStringLower(octets[..TraceIdSize], text[Version.Length..], out var length);
            text[Version.Length + length] = '-';
            Convert.TryToHexStringLower(octets[TraceIdSize..], text[(Version.Length + length + 1)..], out _);
            NotSampled.CopyTo(text[^NotSampled.Length..]);
        });
    }

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
        if (!Source.HasListeners())
        {
            return new ConnectionSpan(null, record);
        }

        var isChild = ActivityContext.TryParse(traceParent, null, isRemote: true, out var parent);
        var activity = Source.StartActivity("inbound", ActivityKind.Server, isChild ? parent : default);
        activity?.SetTag("source.address", record.Source.ToString());
        activity?.SetTag("server.address", record.HboneAddress);
        return new ConnectionSpan(activity, record);
    }
}
