using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Traces, metrics and logs reach a collector of somebody else's by OTLP; the spans of a connection's two proxies are of one trace.</summary>
public sealed class OtlpTests
{
    [RequiresProgram("python3", "python3")]
    public async Task A_connection_is_one_trace_over_both_proxies()
    {
        await using var collector = Peer.Start("python3", "-u", Path.Combine(AppContext.BaseDirectory, "Scripts", "otlp_collector.py"), "0");
        var port = await collector.SaysAsync("collecting on");
        await using var nodes = await TwoNodes.StartAsync(
            ("OTEL_EXPORTER_OTLP_ENDPOINT", $"http://127.0.0.1:{port}"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"));
        await using (var connection = await nodes.ConnectAsync())
        {
            Assert.Equal("hello", await connection.EchoAsync("hello"));
        }

        var outbound = (await collector.SaysAsync("span outbound")).Split(' ');
        var inbound = (await collector.SaysAsync("span inbound")).Split(' ');
        Assert.Equal(outbound[0], inbound[0]);
        Assert.Equal(outbound[1], inbound[2]);
        Assert.Equal("-", outbound[2]);
        await collector.SaysAsync("metric istio_tcp_connections_opened");
        await collector.SaysAsync("log");
    }
}
