
namespace Mesh.EndToEnd;

/// <summary>The file is edited while connections are open (ztunnel §9.4).</summary>
public sealed class PolicyEditTests
{
    private const string DenyWeb = """
        policies:
        - name: no-web
          namespace: shop
          scope: Namespace
          action: Deny
          rules:
          - - - principals: [!Exact cluster.local/ns/shop/sa/web]
        """;

    [Fact]
    public async Task An_edit_closes_the_connection_that_it_denies_and_refuses_new_ones()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var open = await nodes.ConnectAsync();
        Assert.Equal("before", await open.EchoAsync("before"));

        nodes.WritePolicies(DenyWeb);

        await open.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection complete", "connection closed due to policy change: explicitly denied by: shop/no-web, rule 1");
        await using var late = await nodes.ConnectAsync();
        await late.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection complete", "connection closed due to policy rejection: explicitly denied by: shop/no-web, rule 1");
        await nodes.Web.LogsAsync("connection complete", "error=\"http status: 401\"");
    }

    [Fact]
    public async Task An_edit_that_allows_it_still_leaves_the_connection_alone()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var open = await nodes.ConnectAsync();
        Assert.Equal("before", await open.EchoAsync("before"));

        nodes.WritePolicies("policies: []");

        await nodes.Cart.LogsAsync("applied: 2 workloads, 1 services, 0 policies");
        Assert.Equal("after", await open.EchoAsync("after"));
    }

    [Fact]
    public async Task A_broken_edit_changes_nothing_and_is_told_with_its_place()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var open = await nodes.ConnectAsync();
        Assert.Equal("before", await open.EchoAsync("before"));

        nodes.WritePolicies(DenyWeb.Replace("action: Deny", "action: Dney", StringComparison.Ordinal));

        var line = await nodes.Cart.LogsAsync("the last good state stays");
        Assert.Contains($"{nodes.File}:16:11: 'action' is 'Dney'; allowed are Allow, Deny", line, StringComparison.Ordinal);
        Assert.Equal("after", await open.EchoAsync("after"));
        await using var late = await nodes.ConnectAsync();
        Assert.Equal("late", await late.EchoAsync("late"));
    }
}
