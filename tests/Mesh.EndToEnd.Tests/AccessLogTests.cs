using System.Text.Json;
using System.Text.RegularExpressions;

namespace Mesh.EndToEnd;

/// <summary>Every line of the access log has the fields of Istio's ztunnel, in their order, and nothing else (ztunnel §10.3).</summary>
public sealed partial class AccessLogTests
{
    private static readonly string[] Order =
    [
        "src.addr", "src.workload", "src.namespace", "src.identity", "src.cluster", "dst.addr", "dst.hbone_addr", "dst.service", "dst.workload", "dst.namespace",
        "dst.identity", "dst.cluster", "direction", "bytes_sent", "bytes_recv", "duration", "error",
    ];

    [Fact]
    public async Task Lines_of_carried_refused_and_denied_connections_parse_strictly()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await HaveOfEachAsync(nodes);
        foreach (var node in new[] { nodes.Web, nodes.Cart })
        {
            var lines = node.Output.Split('\n').Where(line => line.Contains("\taccess\t", StringComparison.Ordinal)).ToList();
            Assert.NotEmpty(lines);
            Assert.All(lines, line => Assert.Matches(Line(), line));
        }
    }

    [Fact]
    public async Task The_same_in_JSON_has_the_same_fields_in_the_same_order()
    {
        await using var nodes = await TwoNodes.StartAsync(("LOG_FORMAT", "json"));
        await HaveOfEachAsync(nodes);
        var lines = nodes.Cart.Output.Split('\n').Where(line => line.Contains("\"scope\":\"access\"", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(lines);
        Assert.All(lines, line =>
        {
            using var document = JsonDocument.Parse(line);
            var names = document.RootElement.EnumerateObject().Select(property => property.Name).ToList();
            Assert.Equal(["level", "time", "scope", "message"], names.Take(4));
            Assert.Equal(Order.Where(names.Contains), names.Skip(4));
        });
    }

    private static async Task HaveOfEachAsync(TwoNodes nodes)
    {
        await using (var carried = await nodes.ConnectAsync())
        {
            Assert.Equal("hello", await carried.EchoAsync("hello"));
        }

        await using (var refused = await nodes.ConnectAsync(port: 81))
        {
            await refused.ExpectEndAsync();
        }

        await using (var passed = await nodes.ConnectAsync(nodes.CartAddress.ToString(), 9999))
        {
            await passed.ExpectEndAsync();
        }

        nodes.WritePolicies("policies: [{name: nobody, namespace: shop, scope: Namespace, action: Deny, rules: [[]]}]");
        await nodes.Cart.LogsAsync("1 policies");
        await using (var denied = await nodes.ConnectAsync())
        {
            await denied.ExpectEndAsync();
        }

        await nodes.Web.LogsAsync("http status: 401");
        await nodes.Cart.LogsAsync("policy rejection");
    }

    // Quoted values escape their quotes; addresses and numbers are not quoted.
    [GeneratedRegex(
        """
        ^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\t(info|warn|error)\taccess\tconnection\ (complete|failed)\t
        src\.addr=(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+
        (\ src\.workload="[^"]+")?(\ src\.namespace="[^"]+")?(\ src\.identity="spiffe://[^"/]+/ns/[^"/]+/sa/[^"/]+")?(\ src\.cluster="[^"]+")?
        (\ dst\.addr=(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+)?(\ dst\.hbone_addr=[0-9A-Za-z.:\[\]_-]+:\d+)?
        (\ dst\.service="[^"]+")?(\ dst\.workload="[^"]+")?(\ dst\.namespace="[^"]+")?(\ dst\.identity="spiffe://[^"/]+/ns/[^"/]+/sa/[^"/]+")?(\ dst\.cluster="[^"]+")?
        \ direction="(inbound|outbound)"
        (\ bytes_sent=\d+\ bytes_recv=\d+\ duration="\d+ms")?
        (\ error="([^"\\]|\\.)+")?$
        """,
        RegexOptions.IgnorePatternWhitespace | RegexOptions.ExplicitCapture,
        matchTimeoutMilliseconds: 1000)]
    private static partial Regex Line();
}
