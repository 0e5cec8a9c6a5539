using System.Diagnostics.Metrics;
using Mesh.Xds.Grpc;

namespace Mesh.Xds.Client;

/// <summary>The instruments of xDS clients; the names are those of Istio's ztunnel (ztunnel §10.2). Whoever collects adds <c>_total</c> to counters.</summary>
internal sealed class XdsMetrics
{
    private readonly Counter<long> _terminations;
    private readonly Counter<long> _messages;
    private readonly Counter<long> _octets;

    public XdsMetrics(Meter meter)
    {
        _terminations = meter.CreateCounter<long>("istio_xds_connection_terminations", description: "The total number of completed connections to xDS server (unstable)");
        _messages = meter.CreateCounter<long>("istio_xds_message", description: "The total number of xDS messages received (unstable)");
        _octets = meter.CreateCounter<long>("istio_xds_message_bytes", description: "The total number of bytes of xDS messages received (unstable)");
    }

    public void Received(string typeUrl, int octets)
    {
        var url = KeyValuePair.Create<string, object?>("url", typeUrl);
        _messages.Add(1, url);
        _octets.Add(octets, url);
    }

    /// <summary>A stream has ended.</summary>
    /// <param name="wasConnected">Whether it had brought anything.</param>
    /// <param name="fault">Why; null when the server ended it with OK.</param>
    public void Terminated(bool wasConnected, Exception? fault) => _terminations.Add(1, KeyValuePair.Create<string, object?>("reason", fault switch
    {
        null => "Complete",
        _ when !wasConnected => "ConnectionError",
        GrpcException { Status: GrpcStatusCode.Unknown or GrpcStatusCode.Cancelled or GrpcStatusCode.DeadlineExceeded } => "Reconnect",
        _ => "Error",
    }));
}
