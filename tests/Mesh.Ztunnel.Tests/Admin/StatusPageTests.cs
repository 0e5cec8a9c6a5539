using System.Net;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Admin;

/// <summary>The page for people, as the server writes it.</summary>
public sealed class StatusPageTests
{
    private const string Attack = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover=\"alert(3)' `${alert(4)}`&lt;";

    [Fact]
    public async Task It_shows_everything_without_its_script()
    {
        await using var stage = await AdminStage.StartAsync(stage => stage.State.Update(editor => editor.Upsert(new L4Authorization
        {
            Name = "only-web",
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Allow,
        })));
        await stage.Certificates.GetAsync(TestMesh.Cart.Identity);
        using var open = stage.Open(new ConnectionRecord
        {
            Direction = ConnectionDirection.Inbound,
            Source = IPEndPoint.Parse("10.0.0.1:40000"),
            SourceWorkload = TestMesh.Web,
            SourceIdentity = TestMesh.Web.Identity,
            HboneAddress = "10.0.0.2:8080",
        });
        var denied = new ConnectionRecord { Direction = ConnectionDirection.Inbound, Source = IPEndPoint.Parse("10.0.0.66:1") };
        denied.Fail(ConnectionOutcome.Denied, ResponseFlag.Deny, "explicitly denied");
        await stage.RecordAsync(denied);

        var page = await stage.GetAsync("/");
        foreach (var text in (string[])["shop/web 10.0.0.1:40000", "spiffe://cluster.local/ns/shop/sa/web", "explicitly denied", "10.0.0.66:1", "spiffe://cluster.local/ns/shop/sa/cart", "available", "shop/only-web", "uid-cart", "Pending"])
        {
            Assert.Contains($"{text}", WebUtility.HtmlDecode(page), StringComparison.Ordinal);
        }

        Assert.Equal(6, Regex.Count(page, "<caption>"));
        Assert.Equal(Regex.Count(page, "<th "), Regex.Count(page, "<th scope=\"col\""));
    }

    [Fact]
    public async Task What_peers_choose_is_never_markup()
    {
        await using var stage = await AdminStage.StartAsync(stage => stage.State.Update(editor => editor.Upsert(new L4Authorization
        {
            Name = Attack,
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Deny,
        })));
        var hostile = new Workload { Uid = Attack, Name = Attack, Namespace = Attack };
        using var open = stage.Open(Hostile());
        var refused = Hostile();
        refused.Fail(ConnectionOutcome.Rejected, ResponseFlag.Connect, Attack);
        await stage.RecordAsync(refused);

        var page = await stage.GetAsync("/");
        Assert.Single(Regex.Matches(page, "<script"));
        Assert.DoesNotContain("<img", page, StringComparison.Ordinal);

        // Every < begins a tag of ours, and within quotes everything is a value.
        var tags = Regex.Matches(page, """<(?:/?[a-z0-9]+(?:\s+(?<name>[a-z-]+)(?:="[^"<>]*")?)*\s*>|!doctype html>)""");
        Assert.Equal(page.Count(c => c == '<'), tags.Count);
        Assert.DoesNotContain(tags.SelectMany(tag => tag.Groups["name"].Captures), name => name.Value.StartsWith("on", StringComparison.Ordinal));
        Assert.Contains("&lt;script&gt;alert(1)", page, StringComparison.Ordinal);
        foreach (var path in (string[])["/api/status", "/connections", "/config_dump"])
        {
            using var response = await stage.Client.GetAsync($"{stage.Url}{path}");
            var text = await response.Content.ReadAsStringAsync();
            Assert.Equal("application/json", response.Content.Headers.ContentType?.MediaType);
            Assert.DoesNotContain("<script", text, StringComparison.Ordinal);
            Assert.Contains("alert(1)", JsonNode.Parse(text)!.ToString(), StringComparison.Ordinal);
        }

        ConnectionRecord Hostile() => new()
        {
            Direction = ConnectionDirection.Inbound,
            Source = IPEndPoint.Parse("10.0.0.66:1"),
            SourceWorkload = hostile,
            HboneAddress = Attack,
            Why = Attack,
            DestinationService = new Service { Name = Attack, Namespace = Attack, Hostname = Attack },
        };
    }

    [Fact]
    public async Task It_shows_five_hundred_rows_and_how_many_more_there_are()
    {
        await using var stage = await AdminStage.StartAsync();
        var open = Enumerable.Range(0, 1023).Select(i => stage.Open(new ConnectionRecord { Direction = ConnectionDirection.Outbound, Source = new IPEndPoint(0x0100007f, 1 + i) })).ToList();

        var page = await stage.GetAsync("/");
        Assert.Contains("500 shown, 523 more", page, StringComparison.Ordinal);
        Assert.Equal(500, Regex.Count(page[..page.IndexOf("id=\"refused\"", StringComparison.Ordinal)], "<tr data-key"));
        var status = JsonNode.Parse(await stage.GetAsync("/api/status"))!["tables"]!["connections"]!;
        Assert.Equal((1023, 1023), ((int)status["total"]!, status["rows"]!.AsArray().Count));
        open.ForEach(connection => connection.Dispose());
    }

    [Fact]
    public async Task Each_row_of_the_status_has_a_cell_for_each_column_of_the_page()
    {
        await using var stage = await AdminStage.StartAsync();
        await stage.Certificates.GetAsync(TestMesh.Cart.Identity);
        using var open = stage.Open(new ConnectionRecord { Direction = ConnectionDirection.Outbound, Source = IPEndPoint.Parse("10.0.0.1:1") });
        var failed = new ConnectionRecord { Direction = ConnectionDirection.Outbound, Source = IPEndPoint.Parse("10.0.0.1:2") };
        failed.Fail(ConnectionOutcome.Failed, ResponseFlag.Connect, "x");
        await stage.RecordAsync(failed);

        var page = await stage.GetAsync("/");
        var tables = JsonNode.Parse(await stage.GetAsync("/api/status"))!["tables"]!.AsObject();
        foreach (var (id, table) in tables)
        {
            var section = page[page.IndexOf($"<section id=\"{id}\"", StringComparison.Ordinal)..];
            var columns = Regex.Count(section[..section.IndexOf("</thead>", StringComparison.Ordinal)], "<th ");
            Assert.All(table!["rows"]!.AsArray(), row => Assert.Equal(columns + 1, row!.AsArray().Count));
        }

        Assert.Contains(tables["certificates"]!["rows"]!.AsArray(), row => (string?)row![0] == TestMesh.Cart.Identity.ToString());
    }

    [Theory]
    [InlineData("/", "text/html")]
    [InlineData("/page/page.js", "text/javascript")]
    [InlineData("/page/page.css", "text/css")]
    [InlineData("/page/icon.svg", "image/svg+xml")]
    public async Task All_that_it_consists_of_comes_from_here(string path, string type)
    {
        await using var stage = await AdminStage.StartAsync();
        using var response = await stage.Client.GetAsync($"{stage.Url}{path}");
        Assert.Equal((HttpStatusCode.OK, type), (response.StatusCode, response.Content.Headers.ContentType?.MediaType));
        var text = await response.Content.ReadAsStringAsync();
        Assert.DoesNotMatch("(src|href|url|import)[=(\" ]+(https?:)?//", text);
        Assert.DoesNotContain("innerHTML", text, StringComparison.Ordinal);
        Assert.DoesNotMatch(@"\sstyle=|\son\w+=", text);
    }
}
