using System.Text.Json;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Node's HTTP/2 client against port 15008 of a ztunnel process: good peers and impostors.</summary>
public sealed class NodePeerTests
{
    private const string Node = "node";
    private const string Package = "nodejs";
    private const long Size = 100 * 1000 * 1000;

    public static TheoryData<string, string> Impostors => new()
    {
        { "of another trust domain", "(WrongTrustDomain): peer identity spiffe://other.example/ns/shop/sa/web is not of the trust domain cluster.local" },
        { "two names", "(SeveralUriNames): the certificate has 2 URI names (SAN); exactly one is allowed" },
        { "expired", "(Expired): certificate of spiffe://cluster.local/ns/shop/sa/web: expired at " },
        { "self-signed", "(SelfSigned): certificate of spiffe://cluster.local/ns/shop/sa/web: it is self-signed" },
        { "no certificate", "(NoCertificate): the peer presented no certificate" },
    };

    [RequiresProgram(Node, Package)]
    public async Task A_hundred_megabytes_go_both_ways_octet_for_octet()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var peer = Start(nodes, new TestLeaf(), $"{nodes.CartAddress}:{TwoNodes.ApplicationPort}");

        Assert.StartsWith("200 k8s.cluster.name=Kubernetes,k8s.namespace.name=shop", await peer.SaysAsync("status "), StringComparison.Ordinal);
        Assert.Equal(await peer.SaysAsync("sent "), await peer.SaysAsync("received "));
        await peer.SaysAsync("done");
        await nodes.Cart.LogsAsync("connection complete", $"bytes_sent={Size} bytes_recv={Size}");
    }

    [RequiresProgramTheory(Node, Package)]
    [InlineData("10.1.2.3:8080", 400, "ip mismatch: the request is for 10.1.2.3, this is ")]
    [InlineData("nonsense", 400, "the authority 'nonsense' is not of the form address:port or host:port")]
    [InlineData("unknown.example:80", 503, "no service has the host name 'unknown.example'")]
    [InlineData("cart.shop.svc.cluster.local:81", 503, "has no port 81 that this workload knows")]
    [InlineData("{cart}:15008", 503, "port 15008 is one of the proxy's own")]
    public async Task A_target_that_is_not_ours_is_refused_with_its_status(string authority, int status, string reason)
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var peer = Start(nodes, new TestLeaf(), authority.Replace("{cart}", nodes.CartAddress.ToString(), StringComparison.Ordinal));

        Assert.Equal($"{status}", await peer.SaysAsync("status "));
        await nodes.Cart.LogsAsync("connection complete", reason);
    }

    [RequiresProgram(Node, Package)]
    public async Task An_identity_that_no_policy_allows_gets_401()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var peer = Start(nodes, new TestLeaf { Uris = ["spiffe://cluster.local/ns/shop/sa/guest"] }, $"{nodes.CartAddress}:{TwoNodes.ApplicationPort}");

        Assert.Equal("401", await peer.SaysAsync("status "));
        await nodes.Cart.LogsAsync("connection complete", "allow policies exist, but none allowed; shop/only-web, rule 1: clause 1 needs principals cluster.local/ns/shop/sa/web");
    }

    [RequiresProgramTheory(Node, Package)]
    [MemberData(nameof(Impostors))]
    public async Task An_impostor_is_refused_with_a_line_of_its_own(string impostor, string reason)
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var peer = Start(nodes, Leaf(impostor), $"{nodes.CartAddress}:{TwoNodes.ApplicationPort}");

        var line = await nodes.Cart.LogsAsync("connection failed", "direction=\"inbound\"");
        Assert.Contains(reason, line, StringComparison.Ordinal);
        Assert.StartsWith("ERR_SSL_", await peer.SaysAsync("stream-error "), StringComparison.Ordinal);
        Assert.DoesNotContain("status", peer.Output, StringComparison.Ordinal);
    }

    private static Peer Start(TwoNodes nodes, TestLeaf? leaf, string authority)
    {
        var (key, cert) = leaf is null ? default : nodes.WriteCertificate(leaf);
        return Peer.Start(Node, Path.Combine(AppContext.BaseDirectory, "Peers", "connect-client.js"), JsonSerializer.Serialize(
            new { host = nodes.CartAddress.ToString(), port = 15008, key, cert, ca = nodes.RootCertificate, mode = "echo", size = Size, authority }));
    }

    private static TestLeaf? Leaf(string impostor) => impostor switch
    {
        "of another trust domain" => new TestLeaf { Uris = ["spiffe://other.example/ns/shop/sa/web"] },
        "two names" => new TestLeaf { Uris = ["spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/admin"] },
        "expired" => new TestLeaf { NotBefore = DateTimeOffset.UtcNow.AddSeconds(-30), NotAfter = DateTimeOffset.UtcNow.AddSeconds(-10) },
        "self-signed" => new TestLeaf { SelfSigned = true },
        _ => null,
    };
}
