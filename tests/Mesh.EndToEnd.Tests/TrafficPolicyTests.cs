using System.Net;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>x-trafficPolicy of a service: further endpoints are tried, dead ones are left out, limits hold, and all of it is told.</summary>
public sealed class TrafficPolicyTests : IAsyncLifetime
{
    private static int _last = Environment.ProcessId % 100;
    private readonly int _network = Interlocked.Increment(ref _last) % 250;
    private readonly TemporaryDirectory _directory = new();
    private readonly EchoServer _alive;

    public TrafficPolicyTests() => _alive = new EchoServer(new IPEndPoint(Address(2), 8080));

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _alive.DisposeAsync();
        _directory.Dispose();
    }

    [Fact]
    public async Task A_further_endpoint_is_tried_when_one_cannot_be_connected_to()
    {
        await using var ztunnel = await StartAsync("{connectRetries: 1}");
        for (var i = 0; i < 20; i++)
        {
            await using var connection = await ConnectAsync();
            Assert.Equal("hello", await connection.EchoAsync("hello"));
        }

        Assert.Contains("mesh_connect_retries_total{", await MetricsAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dead_endpoint_is_left_out()
    {
        await using var ztunnel = await StartAsync("{connectRetries: 1, outlierDetection: {consecutiveLocalOriginFailures: 1, baseEjectionTime: 1h, maxEjectionPercent: 50}}");
        await Eventually.UntilAsync("the dead one is found", async () =>
        {
            await using var connection = await ConnectAsync();
            Assert.Equal("hello", await connection.EchoAsync("hello"));
            return ztunnel.Output.Contains("endpoint dead of shop/cart.shop.svc.cluster.local is left out for a while", StringComparison.Ordinal);
        });
    }

    [Fact]
    public async Task Connections_beyond_the_limit_are_refused_and_flagged()
    {
        await using var ztunnel = await StartAsync("{connectRetries: 1, maxConnections: 1}");
        await using var first = await ConnectAsync();
        Assert.Equal("hello", await first.EchoAsync("hello"));
        await using var second = await ConnectAsync();
        await second.ExpectEndAsync();
        await ztunnel.LogsAsync("connection complete", "error=\"service shop/cart.shop.svc.cluster.local may have 1 connections from here at once, and has them\"");
        Assert.Contains("response_flags=\"OVERFLOW\"", await MetricsAsync(), StringComparison.Ordinal);
        Assert.Equal("still", await first.EchoAsync("still"));
    }

    private async Task<Peer> StartAsync(string policy)
    {
        var file = Path.Combine(_directory.Path, "mesh.yaml");
        await File.WriteAllTextAsync(file, $$$"""
            workloads:
            - {uid: web, name: web-0, namespace: shop, serviceAccount: web, workloadIps: [{{{Address(1)}}}], services: {}}
            - {uid: alive, name: cart-0, namespace: shop, serviceAccount: cart, workloadIps: [{{{Address(2)}}}], services: {shop/cart.shop.svc.cluster.local: {80: 8080} } }
            - {uid: dead, name: cart-1, namespace: shop, serviceAccount: cart, workloadIps: [{{{Address(3)}}}], services: {shop/cart.shop.svc.cluster.local: {80: 8080} } }
            services:
            - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: [/10.96.0.2], ports: {80: 8080}, x-trafficPolicy: {{{policy}}} }
            """);
        var ztunnel = Peer.Start(
            new Dictionary<string, string>
            {
                ["PROXY_MODE"] = "dedicated",
                ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web",
                ["LOCAL_XDS_PATH"] = file,
                ["MESH_DEVELOPMENT_CA"] = Path.Combine(_directory.Path, "ca"),
                ["MESH_LISTEN_ADDRESS"] = Address(1).ToString(),
                ["UNSTABLE_ENABLE_SOCKS5"] = "true",
            },
            "dotnet",
            Executable.PathOf("Mesh.Ztunnel"));
        await ztunnel.LogsAsync("\tready");
        return ztunnel;
    }

    private async Task<TransportConnection> ConnectAsync()
    {
        var connection = await new SocketTransportFactory().ConnectAsync(new IPEndPoint(Address(1), 15080), null, CancellationToken.None);
        await Socks5Client.ConnectAsync(connection.Stream, "cart.shop.svc.cluster.local", 80).InTime();
        return connection;
    }

    private async Task<string> MetricsAsync()
    {
        using var client = new HttpClient();
        return await client.GetStringAsync($"http://{Address(1)}:15020/metrics");
    }

    private IPAddress Address(int number) => IPAddress.Parse($"127.76.{_network}.{number}");
}
