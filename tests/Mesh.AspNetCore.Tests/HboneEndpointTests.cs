using System.Net;
using System.Security.Cryptography;
using System.Text;
using Mesh.Core.Policy;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Testing;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Mesh.AspNetCore;

/// <summary>Kestrel behind HBONE: what an application sees of the peer, and who gets through to it.</summary>
public sealed class HboneEndpointTests
{
    [Theory]
    [InlineData("1.1", "HTTP/1.1")]
    [InlineData("2.0", "HTTP/2")]
    public async Task A_request_comes_with_the_identity_of_its_client_whatever_the_version(string version, string protocol)
    {
        await using var shop = await Shop.OpenAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/") { Version = Version.Parse(version), VersionPolicy = HttpVersionPolicy.RequestVersionExact };
        using var response = await shop.Client("web").SendAsync(request).InTime();

        // Endpoints get the tunnel for themselves, so the authority is the endpoint's address.
        Assert.Matches($"^{protocol} spiffe://cluster.local/ns/shop/sa/web 10\\.0\\.0\\.2:80 127\\.0\\.0\\.1$", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Both_versions_work_at_once()
    {
        await using var shop = await Shop.OpenAsync();
        using var client = shop.Client("web");
        var answers = await Task.WhenAll(Enumerable.Range(0, 40).Select(async i =>
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/") { Version = i % 2 == 0 ? HttpVersion.Version11 : HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
            using var response = await client.SendAsync(request);
            return (await response.Content.ReadAsStringAsync()).Split(' ')[0];
        })).InTime();
        Assert.Equal(20, answers.Count(protocol => protocol == "HTTP/2"));
        Assert.Equal(20, answers.Count(protocol => protocol == "HTTP/1.1"));
    }

    [Fact]
    public async Task The_user_has_a_claim_for_each_part_of_the_identity()
    {
        await using var shop = await Shop.OpenAsync();
        Assert.Equal("spiffe_id=spiffe://cluster.local/ns/shop/sa/web trust_domain=cluster.local service_account=shop/web", await shop.Client("web").GetStringAsync("claims").InTime());
    }

    [Theory]
    [InlineData("web", HttpStatusCode.OK)]
    [InlineData("admin", HttpStatusCode.Forbidden)]
    public async Task A_policy_of_authorization_can_name_service_accounts(string serviceAccount, HttpStatusCode status)
    {
        await using var shop = await Shop.OpenAsync();
        using var response = await shop.Client(serviceAccount).GetAsync("web").InTime();
        Assert.Equal(status, response.StatusCode);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Large_bodies_go_both_ways(string version)
    {
        await using var shop = await Shop.OpenAsync();
        using var client = shop.Client("web");
        client.DefaultRequestVersion = Version.Parse(version);
        client.DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact;
        var octets = RandomNumberGenerator.GetBytes(20 * 1024 * 1024);
        using var kept = await client.PutAsync("kept", new ByteArrayContent(octets)).InTime();
        Assert.Equal(HttpStatusCode.OK, kept.StatusCode);
        Assert.Equal(SHA256.HashData(octets), SHA256.HashData(await client.GetByteArrayAsync("kept").InTime()));
    }

    [Fact]
    public async Task L4_policies_of_the_state_are_asked_before_the_application_is()
    {
        await using var shop = await Shop.OpenAsync("policies: [{name: only-web, namespace: shop, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/web]}]]]}]");
        Assert.Equal("for the web", await shop.Client("web").GetStringAsync("web").InTime());

        var failure = await Assert.ThrowsAsync<HttpRequestException>(() => shop.Client("admin").GetStringAsync("web").InTime());
        Assert.Equal((HboneError.Refused, 401), Unwrap(failure) is { } hbone ? (hbone.Error, hbone.Status!.Value) : default);
    }

    [Fact]
    public async Task Policies_that_name_ports_cannot_be_gone_round_by_asking_for_another()
    {
        await using var shop = await Shop.OpenAsync("policies: [{name: no-http, namespace: shop, scope: Namespace, action: Deny, rules: [[[{destinationPorts: [80]}]]]}]");
        var destination = new HboneDestination(Shop.Identity("web"), [Shop.Cart], Shop.CartAddress);
        var denied = await Assert.ThrowsAsync<HboneException>(() => shop.Pool("web").ConnectAsync(destination, "cart:80").InTime());
        Assert.Equal(401, denied.Status);
        var refused = await Assert.ThrowsAsync<HboneException>(() => shop.Pool("web").ConnectAsync(destination, "cart:81").InTime());
        Assert.Equal(503, refused.Status);
    }

    [Fact]
    public async Task A_change_of_policy_cuts_the_tunnels_that_it_denies_and_no_others()
    {
        await using var shop = await Shop.OpenAsync();
        await using var admin = await shop.Connector("admin").ConnectAsync(Shop.CartHost, 80).InTime();
        await using var web = await shop.Connector("web").ConnectAsync(Shop.CartHost, 80).InTime();
        shop.State.Update(editor => editor.Upsert(new L4Authorization
        {
            Name = "no-admin",
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Deny,
            Rules = [new AuthorizationRule(new AuthorizationClause(new AuthorizationMatch { ServiceAccounts = [new ServiceAccountMatch("shop", "admin")] }))],
        }));
        await admin.WhenReset.InTime();
        await web.Output.WriteAsync("GET /web HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n"u8.ToArray());
        Assert.StartsWith("HTTP/1.1 200", await new StreamReader(web.AsStream()).ReadToEndAsync().InTime(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task As_long_as_the_state_does_not_hold_the_applications_workload_nothing_is_accepted()
    {
        await using var shop = await Shop.OpenAsync(configure: mesh => mesh.WorkloadUid = "somebody-else");
        var destination = new HboneDestination(Shop.Identity("web"), [Shop.Cart], Shop.CartAddress);
        var refused = await Assert.ThrowsAsync<HboneException>(() => shop.Pool("web").ConnectAsync(destination, "cart:80").InTime());
        Assert.Equal(503, refused.Status);
    }

    [Theory]
    [InlineData("cart")]
    [InlineData("cart:")]
    [InlineData("cart:http")]
    [InlineData("cart:0")]
    [InlineData("cart:65536")]
    [InlineData("cart:+80")]
    public async Task An_authority_without_a_port_is_refused(string authority)
    {
        await using var shop = await Shop.OpenAsync();
        var destination = new HboneDestination(Shop.Identity("web"), [Shop.Cart], Shop.CartAddress);
        var refusal = await Assert.ThrowsAsync<HboneException>(() => shop.Pool("web").ConnectAsync(destination, authority).InTime());
        Assert.Equal((HboneError.Refused, 400), (refusal.Error, refusal.Status!.Value));
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n", "HTTP/1.1 200")]
    [InlineData("PRI * HTTP/1.1\r\nhost: cart\r\n\r\n", "HTTP/1.1 405")]
    [InlineData("P", "HTTP/1.1 400")]
    [InlineData("\0\0\0", "HTTP/1.1 400")]
    public async Task The_first_octets_decide_however_they_come(string request, string begin)
    {
        await using var shop = await Shop.OpenAsync();
        await using var tunnel = await shop.Connector("web").ConnectAsync(Shop.CartHost, 80).InTime();
        foreach (var octet in Encoding.Latin1.GetBytes(request))
        {
            await tunnel.Output.WriteAsync(new[] { octet }).InTime();
        }

        await tunnel.Output.CompleteAsync();
        var answer = await new StreamReader(tunnel.AsStream(), Encoding.Latin1).ReadToEndAsync().InTime();
        Assert.StartsWith(begin, answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_that_is_under_way_is_finished_when_the_application_stops()
    {
        var arrived = new TaskCompletionSource();
        var answer = new TaskCompletionSource();
        await using var shop = await Shop.OpenAsync(map: app => app.MapGet("/slow", async () =>
        {
            arrived.TrySetResult();
            await answer.Task;
            return "at last";
        }));
        var asking = shop.Client("web").GetStringAsync("slow");
        await arrived.Task.InTime();
        var stopping = shop.StopAsync();
        answer.SetResult();
        Assert.Equal("at last", await asking.InTime());
        await stopping.InTime();
    }

    [Fact]
    public async Task A_client_that_resets_its_tunnel_aborts_the_request()
    {
        var arrived = new TaskCompletionSource();
        var aborted = new TaskCompletionSource();
        await using var shop = await Shop.OpenAsync(map: app => app.MapGet("/slow", async (HttpContext context) =>
        {
            arrived.TrySetResult();
            try
            {
                await Task.Delay(Timeout.Infinite, context.RequestAborted);
            }
            catch (OperationCanceledException)
            {
                aborted.TrySetResult();
            }
        }));
        await using var tunnel = await shop.Connector("web").ConnectAsync(Shop.CartHost, 80).InTime();
        await tunnel.Output.WriteAsync("GET /slow HTTP/1.1\r\nhost: cart\r\n\r\n"u8.ToArray());
        await arrived.Task.InTime();
        tunnel.Abort();
        await aborted.Task.InTime();
    }

    private static HboneException? Unwrap(Exception? e) => e as HboneException ?? (e is null ? null : Unwrap(e.InnerException));
}
