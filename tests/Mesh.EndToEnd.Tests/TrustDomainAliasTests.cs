namespace Mesh.EndToEnd;

/// <summary>A client that still has its mesh's former trust domain, over real processes.</summary>
public sealed class TrustDomainAliasTests
{
    private const string Deny = """
        policies:
        - name: no-web
          namespace: shop
          scope: Namespace
          action: Deny
          rules:
          - - - principals: [!Exact cluster.local/ns/shop/sa/web]
        """;

    [Fact]
    public async Task Policies_that_name_the_new_trust_domain_mean_the_client_with_the_old_one()
    {
        await using var nodes = await TwoNodes.StartAsync("old.example", ("TRUST_DOMAIN_ALIASES", "old.example,cluster.local"), ("RUST_LOG", "debug"));
        await using var connection = await nodes.ConnectAsync();
        Assert.Equal("hello", await connection.EchoAsync("hello"));
        await nodes.Cart.LogsAsync("allowed by policy shop/only-web", "matched as cluster.local/ns/shop/sa/web, another name of old.example/ns/shop/sa/web");

        nodes.WritePolicies(Deny);
        await connection.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection complete", "src.identity=\"spiffe://old.example/ns/shop/sa/web\"", "another name of old.example/ns/shop/sa/web");

        await using var further = await nodes.ConnectAsync();
        await further.ExpectEndAsync();
    }

    [Fact]
    public async Task Without_aliases_the_client_is_refused_in_the_handshake()
    {
        await using var nodes = await TwoNodes.StartAsync("old.example");
        await using var connection = await nodes.ConnectAsync();
        await connection.ExpectEndAsync();
    }
}
