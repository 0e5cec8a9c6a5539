using System.Text.RegularExpressions;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>One connection through two ztunnel processes, and what they say of it.</summary>
public sealed class ConnectionTests
{
    private const string Text = "\"[^\"]+\"";
    private const string Address = @"[0-9.]+:\d+";

    [Fact]
    public async Task Both_sides_write_one_line_with_the_fields_of_ztunnel_in_their_order()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using (var connection = await nodes.ConnectAsync())
        {
            Assert.Equal("hello", await connection.EchoAsync("hello"));
        }

        var outbound = await nodes.Web.LogsAsync("connection complete");
        var inbound = await nodes.Cart.LogsAsync("connection complete");
        Assert.Matches(Line("outbound", "dst.service=" + Text + " ", 5, 5), outbound);
        Assert.Matches(Line("inbound", "dst.service=" + Text + " ", 5, 5), inbound);
        Assert.Contains($"dst.addr={nodes.CartAddress}:15008 dst.hbone_addr={nodes.CartAddress}:8080", outbound, StringComparison.Ordinal);
        Assert.Contains("src.workload=\"web-0\" src.namespace=\"shop\" src.identity=\"spiffe://cluster.local/ns/shop/sa/web\"", inbound, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_large_echo_is_carried_octet_for_octet()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync();
        var octets = new byte[32 * 1024 * 1024];
        new Random(7).NextBytes(octets);

        var sending = Task.Run(async () =>
        {
            await connection.Stream.WriteAsync(octets);
            connection.ShutdownSend();
        });
        var received = new MemoryStream();
        await connection.Stream.CopyToAsync(received).InTime();
        await sending.InTime();

        Assert.True(octets.AsSpan().SequenceEqual(received.GetBuffer().AsSpan(0, (int)received.Length)));
    }

    [Fact]
    public async Task What_the_mesh_does_not_know_is_passed_through()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var outside = new EchoServer(new System.Net.IPEndPoint(System.Net.IPAddress.Parse("127.78.0.9"), 8080));
        await using (var connection = await nodes.ConnectAsync("127.78.0.9", 8080))
        {
            Assert.Equal("hello", await connection.EchoAsync("hello"));
        }

        var line = await nodes.Web.LogsAsync("connection complete");
        Assert.Contains("dst.addr=127.78.0.9:8080 direction=\"outbound\"", line, StringComparison.Ordinal);
        Assert.DoesNotContain("src.identity", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_that_the_service_does_not_have_is_refused_and_told()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync(port: 81);

        await connection.ExpectEndAsync();
        await nodes.Web.LogsAsync("connection complete", "error=\"no healthy upstream: service shop/cart.shop.svc.cluster.local has no port 81; it has 80\"");
    }

    [Fact]
    public async Task An_application_that_does_not_listen_is_told_on_both_sides()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync(nodes.CartAddress.ToString(), 9999);

        await connection.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection complete", $"cannot connect to {nodes.CartAddress}:9999: Connection refused");
        await nodes.Web.LogsAsync("connection complete", "error=\"http status: 503\"");
    }

    [Fact]
    public async Task Readiness_is_told_over_http()
    {
        await using var nodes = await TwoNodes.StartAsync();
        using var client = new HttpClient();

        Assert.Equal("ready\n", await client.GetStringAsync($"http://{nodes.CartAddress}:15021/healthz/ready"));
        using var other = await client.GetAsync($"http://{nodes.CartAddress}:15021/");
        Assert.Equal(System.Net.HttpStatusCode.NotFound, other.StatusCode);
        using var post = await client.PostAsync($"http://{nodes.CartAddress}:15021/healthz/ready", null);
        Assert.Equal(System.Net.HttpStatusCode.MethodNotAllowed, post.StatusCode);
    }

    private static Regex Line(string direction, string service, int sent, int received) => new(
        $"""^[-0-9]+T[0-9:]+\.[0-9]{"{6}"}Z\tinfo\taccess\tconnection complete\tsrc\.addr={Address} src\.workload={Text} src\.namespace={Text} src\.identity={Text} """
        + $"""src\.cluster={Text} dst\.addr={Address} dst\.hbone_addr={Address} {service}dst\.workload={Text} dst\.namespace={Text} dst\.identity={Text} """
        + $"""dst\.cluster={Text} direction="{direction}" bytes_sent={sent} bytes_recv={received} duration="[0-9]+ms"$""");
}
