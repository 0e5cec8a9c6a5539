using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>The servers beside the traffic, on running processes.</summary>
public sealed class AdminTests
{
    [Fact]
    public async Task Metrics_count_a_connection_while_it_is_open_and_when_it_has_closed()
    {
        await using var nodes = await TwoNodes.StartAsync();
        using var client = new HttpClient();
        string[] urls = [$"http://{nodes.WebAddress}:15020/metrics", $"http://{nodes.CartAddress}:15020/stats/prometheus"];
        await using (var connection = await nodes.ConnectAsync())
        {
            Assert.Equal("hello", await connection.EchoAsync("hello"));
            foreach (var url in urls)
            {
                var open = await client.GetStringAsync(url);
                Assert.Equal((1, 0, 1), (Sum(open, "istio_tcp_connections_opened_total"), Sum(open, "istio_tcp_connections_closed_total"), Sum(open, "istio_tcp_sockets_open")));
                Assert.Equal((5, 5), (Sum(open, "istio_tcp_received_bytes_total"), Sum(open, "istio_tcp_sent_bytes_total")));
            }
        }

        await nodes.Web.LogsAsync("connection complete");
        await nodes.Cart.LogsAsync("connection complete");
        foreach (var url in urls)
        {
            await Eventually.Until("the end is counted", () => Sum(client.GetStringAsync(url).Result, "istio_tcp_connections_closed_total") == 1);
            var closed = await client.GetStringAsync(url);
            Assert.Equal((1, 1, 0), (Sum(closed, "istio_tcp_connections_opened_total"), Sum(closed, "istio_tcp_connections_closed_total"), Sum(closed, "istio_tcp_sockets_open")));
            Assert.Equal((5, 5), (Sum(closed, "istio_tcp_received_bytes_total"), Sum(closed, "istio_tcp_sent_bytes_total")));
            Assert.Contains("source_principal=\"spiffe://cluster.local/ns/shop/sa/web\"", closed, StringComparison.Ordinal);
            Assert.Matches("istio_build\\{component=\"ztunnel\",tag=\"unknown\",version=\"[^\"]+\"\\} 1\n", closed);
            Assert.True(Sum(closed, "process_open_fds") > 0 && Sum(closed, "process_max_fds") > 0);
            Assert.EndsWith("# EOF\n", closed, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_certificates_of_a_running_ztunnel_are_shown_by_the_command_line()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using (var connection = await nodes.ConnectAsync())
        {
            Assert.Equal("hello", await connection.EchoAsync("hello"));
        }

        await using var proxy = Peer.Start("dotnet", Executable.PathOf("Mesh.Cli"), "certs", "proxy", "--address", $"{nodes.WebAddress}:15000");
        Assert.Equal(0, await proxy.ExitAsync());
        Assert.Matches("spiffe://cluster.local/ns/shop/sa/web\\s+state +Available\\s+leaf\\s+SPIFFE ID +spiffe://cluster.local/ns/shop/sa/web", proxy.Output);
        Assert.Contains("root 1 of 1", proxy.Output, StringComparison.Ordinal);

        var root = Path.Combine(nodes.CertificateDirectory, Core.Identity.DevelopmentCertificateAuthority.RootCertificateFile);
        await using var handshake = Peer.Start("dotnet", Executable.PathOf("Mesh.Cli"), "certs", "connect", $"{nodes.CartAddress}:15008", "--root", root, "--expect", "spiffe://cluster.local/ns/shop/sa/cart");
        Assert.Equal(0, await handshake.ExitAsync());
        Assert.Contains("the given roots vouch for it", handshake.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_form_and_the_compression_of_metrics_are_negotiated()
    {
        await using var nodes = await TwoNodes.StartAsync();
        var url = $"http://{nodes.WebAddress}:15020/metrics";
        foreach (var encoding in (string[])["gzip", "br", "deflate"])
        {
            using var plain = new HttpClient();
            using var request = new HttpRequestMessage(HttpMethod.Get, url) { Headers = { { "Accept-Encoding", encoding }, { "Accept", "application/openmetrics-text;version=1.0.0;q=0.8, text/plain;q=0.5" } } };
            using var response = await plain.SendAsync(request);
            Assert.Equal("application/openmetrics-text;charset=utf-8;version=1.0.0", response.Content.Headers.NonValidated["Content-Type"].ToString());
            Assert.Equal([encoding], response.Content.Headers.ContentEncoding);

            using var unpacking = new HttpClient(new HttpClientHandler { AutomaticDecompression = DecompressionMethods.All });
            Assert.EndsWith("# EOF\n", await unpacking.GetStringAsync(url), StringComparison.Ordinal);
        }

        using var client = new HttpClient();
        using var text = await client.GetAsync(url);
        Assert.Equal("text/plain; charset=utf-8", text.Content.Headers.ContentType?.ToString());
        Assert.Empty(text.Content.Headers.ContentEncoding);
        using var refused = new HttpRequestMessage(HttpMethod.Get, url) { Headers = { { "Accept", "application/openmetrics-text;q=0" } } };
        using var fallback = await client.SendAsync(refused);
        Assert.Equal("text/plain", fallback.Content.Headers.ContentType?.MediaType);
        using var other = await client.GetAsync($"http://{nodes.WebAddress}:15020/");
        Assert.Equal(HttpStatusCode.NotFound, other.StatusCode);
        using var post = await client.PostAsync(url, null);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, post.StatusCode);
    }

    [RequiresProgram("promtool", "prometheus")]
    public async Task Promtool_takes_the_metrics_of_a_ztunnel_with_traffic()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync();
        Assert.Equal("hello", await connection.EchoAsync("hello"));
        using var client = new HttpClient();
        var text = await client.GetStringAsync($"http://{nodes.CartAddress}:15020/metrics");
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, text);
            await using var promtool = Peer.Start("sh", "-c", $"promtool check metrics < {file}");
            var status = await promtool.ExitAsync();
            Assert.True(status == 0, promtool.Output);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task The_configuration_names_what_the_process_acts_for_and_its_connections()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync();
        Assert.Equal("hello", await connection.EchoAsync("hello"));
        using var client = new HttpClient();
        using var cart = JsonDocument.Parse(await client.GetStringAsync($"http://{nodes.CartAddress}:15000/config_dump"));
        using var web = JsonDocument.Parse(await client.GetStringAsync($"http://{nodes.WebAddress}:15000/config_dump"));

        Assert.Equal(2, cart.RootElement.GetProperty("workloads").GetArrayLength());
        Assert.Equal(2, cart.RootElement.GetProperty("staticConfig").GetProperty("workloads").GetArrayLength());
        Assert.Equal("only-web", cart.RootElement.GetProperty("policies")[0].GetProperty("name").GetString());
        Assert.Equal("Available", cart.RootElement.GetProperty("certificates")[0].GetProperty("state").GetString());
        var inbound = cart.RootElement.GetProperty("workloadState").GetProperty("shop/cart-0/cart").GetProperty("connections").GetProperty("inbound")[0];
        Assert.Equal($"{nodes.CartAddress}:{TwoNodes.ApplicationPort}", inbound.GetProperty("originalDst").GetString());
        var outbound = web.RootElement.GetProperty("workloadState").GetProperty("shop/web-0/web").GetProperty("connections").GetProperty("outbound")[0];
        Assert.Equal(("10.96.0.2:80", $"{nodes.CartAddress}:15008", "HBONE"), (outbound.GetProperty("originalDst").GetString(), outbound.GetProperty("actualDst").GetString(), outbound.GetProperty("protocol").GetString()));
    }

    [Fact]
    public async Task Log_levels_change_while_it_runs()
    {
        await using var nodes = await TwoNodes.StartAsync();
        using var client = new HttpClient();
        using var response = await client.PostAsync($"http://{nodes.WebAddress}:15000/logging?level=access=debug", null);
        Assert.Equal("current log level is info,access=debug\n", await response.Content.ReadAsStringAsync());
        await using var connection = await nodes.ConnectAsync();
        await nodes.Web.LogsAsync("\tdebug\taccess\tconnection opened");
    }

    [Fact]
    public async Task It_ends_when_told_to_as_by_a_signal()
    {
        await using var nodes = await TwoNodes.StartAsync();
        using var client = new HttpClient();
        using var response = await client.PostAsync($"http://{nodes.CartAddress}:15000/quitquitquit", null);
        Assert.Equal("shutdown now\n", await response.Content.ReadAsStringAsync());
        Assert.Equal(0, await nodes.Cart.ExitAsync());
        await nodes.Cart.LogsAsync("stopping: 0 connections may go on");
    }

    [Fact]
    public async Task Administration_is_not_reached_through_the_mesh()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync(nodes.CartAddress.ToString(), 15000);
        await connection.ExpectEndAsync();
        await nodes.Web.LogsAsync("connection failed", "attempted recursive call to ourselves");
    }

    [Fact]
    public async Task The_page_tells_who_talks_to_whom_and_who_was_refused_by_which_policy()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var connection = await nodes.ConnectAsync();
        Assert.Equal("hello", await connection.EchoAsync("hello"));
        using var client = new HttpClient();
        var open = await RowsAsync("connections");
        Assert.Contains("spiffe://cluster.local/ns/shop/sa/web", Assert.Single(open), StringComparison.Ordinal);
        Assert.Contains("allowed by policy shop/only-web", open[0], StringComparison.Ordinal);
        Assert.Equal("""["spiffe://cluster.local/ns/shop/sa/web\nshop/cart.shop.svc.cluster.local","spiffe://cluster.local/ns/shop/sa/web","shop/cart.shop.svc.cluster.local",1,0,0]""", Assert.Single(await RowsAsync("traffic")));

        nodes.WritePolicies("policies: [{name: nobody, namespace: shop, scope: Namespace, action: Deny, rules: [[[{destinationPorts: [8080]}]]]}]");
        await connection.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection complete", "shop/nobody");
        await Eventually.Until("the refusal is remembered", () => RowsAsync("refused").Result.Count == 1);
        Assert.Contains("explicitly denied by: shop/nobody, rule 1", (await RowsAsync("refused"))[0], StringComparison.Ordinal);
        Assert.Contains((await RowsAsync("policies")), row => row.StartsWith("[\"shop/nobody\"", StringComparison.Ordinal) && row.EndsWith(",0,1]", StringComparison.Ordinal));
        Assert.Contains((await RowsAsync("policies")), row => row.StartsWith("[\"shop/only-web\"", StringComparison.Ordinal) && row.EndsWith(",1,0]", StringComparison.Ordinal));
        Assert.Contains("shop/cart-0/cart", await client.GetStringAsync($"http://{nodes.CartAddress}:15000/"), StringComparison.Ordinal);

        async Task<List<string>> RowsAsync(string table)
        {
            using var status = JsonDocument.Parse(await client.GetStringAsync($"http://{nodes.CartAddress}:15000/api/status"));
            return [.. status.RootElement.GetProperty("tables").GetProperty(table).GetProperty("rows").EnumerateArray().Select(row => row.GetRawText())];
        }
    }

    private static double Sum(string text, string name) => Regex.Matches(text, $@"^{name}(\{{.*\}})? (\S+)$", RegexOptions.Multiline).Sum(match => double.Parse(match.Groups[2].Value));
}
