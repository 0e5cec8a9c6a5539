using System.Net;
using Mesh.Core.Identity;
using Mesh.Testing;

namespace Mesh.AspNetCore;

/// <summary>An application whose clients have a former trust domain still.</summary>
public sealed class TrustDomainAliasTests
{
    private static readonly TrustDomain Old = TrustDomain.Parse("old.example");
    private static readonly TrustDomainAliases Aliases = TrustDomainAliases.Create(Old, TrustDomain.ClusterLocal);

    [Fact]
    public async Task A_client_of_an_alias_is_a_user_under_its_own_name()
    {
        await using var shop = await Shop.OpenAsync(configure: options => options.TrustDomainAliases = Aliases);
        var claims = await OldClient(shop, "web").GetStringAsync("/claims").InTime();
        Assert.Contains("spiffe_id=spiffe://old.example/ns/shop/sa/web", claims, StringComparison.Ordinal);
        Assert.Equal("for the web", await OldClient(shop, "web").GetStringAsync("/web").InTime());
    }

    [Fact]
    public async Task A_client_of_an_alias_is_refused_where_there_are_none()
    {
        await using var shop = await Shop.OpenAsync();
        await Assert.ThrowsAsync<HttpRequestException>(() => OldClient(shop, "web").GetStringAsync("/claims")).InTime();
    }

    [Theory]
    [InlineData("Allow", "cluster.local/ns/shop/sa/web", true)]
    [InlineData("Deny", "cluster.local/ns/shop/sa/web", false)]
    [InlineData("Deny", "old.example/ns/shop/sa/web", false)]
    [InlineData("Deny", "cluster.local/ns/shop/sa/cart", true)]
    public async Task Policies_mean_it_under_each_name(string action, string principal, bool isAllowed)
    {
        await using var shop = await Shop.OpenAsync(
            $"policies: [{{name: web, namespace: shop, scope: Namespace, action: {action}, rules: [[[{{principals: [!Exact {principal}]}}]]]}}]",
            configure: options => options.TrustDomainAliases = Aliases);
        var client = OldClient(shop, "web");
        if (isAllowed)
        {
            Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/claims").InTime()).StatusCode);
        }
        else
        {
            await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync("/claims")).InTime();
        }
    }

    [Fact]
    public async Task The_workload_in_the_state_may_have_another_name()
    {
        await using var shop = await Shop.OpenAsync(configure: options =>
        {
            options.Identity = SpiffeId.ForServiceAccount(Old, "shop", "cart");
            options.WorkloadUid = "Kubernetes//Pod/shop/cart-0";
            options.TrustDomainAliases = Aliases;
        });
        Assert.Contains("service_account=shop/web", await OldClient(shop, "web").GetStringAsync("/claims").InTime(), StringComparison.Ordinal);
    }

    private static HttpClient OldClient(Shop shop, string serviceAccount) => shop.Client(serviceAccount, configure: options =>
    {
        options.Identity = SpiffeId.ForServiceAccount(Old, "shop", serviceAccount);
        options.TrustDomainAliases = Aliases;
    });
}
