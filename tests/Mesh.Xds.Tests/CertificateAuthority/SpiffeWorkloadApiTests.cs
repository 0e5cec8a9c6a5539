using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using Mesh.Core.Identity;
using Mesh.Testing;
using static Mesh.Xds.ControlPlanePeer;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>The client against an agent on gRPC's C core (SPIFFE Workload API, section 5).</summary>
public sealed class SpiffeWorkloadApiTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private static readonly SpiffeId Teller = SpiffeId.Parse("spiffe://bank.example/teller");

    private readonly X509Certificate2 _root = TestCertificates.Root("CN=Shop");
    private readonly X509Certificate2 _otherRoot = TestCertificates.Root("CN=Bank");
    private SpiffeAgentPeer _agent = null!;

    // Nothing to begin with where the peer is missing; the tests are skipped then.
    public async Task InitializeAsync()
    {
        if (File.Exists(Protoc))
        {
            _agent = await SpiffeAgentPeer.StartAsync();
        }
    }

    public async Task DisposeAsync() => await (_agent?.DisposeAsync() ?? default);

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_certificate_that_the_agent_brings_is_handed_out_with_its_key_chain_and_roots(bool overTcp)
    {
        await using var agent = await SpiffeAgentPeer.StartAsync(overTcp);
        using var intermediate = TestCertificates.Intermediate(_root);
        using var leaf = TestCertificates.Leaf(intermediate, new TestLeaf { Uris = [Web.ToString()] });
        await agent.BringAsync(SpiffeAgentPeer.Svid(Web, leaf, [intermediate], _root, _otherRoot));
        await using var authority = new SpiffeWorkloadApi(new SpiffeWorkloadApiOptions { Endpoint = agent.Endpoint });
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        Assert.Equal((Web, leaf.Thumbprint, true), (certificate.Identity, certificate.Leaf.Thumbprint, certificate.Leaf.HasPrivateKey));
        Assert.Equal(intermediate.RawData, Assert.Single(certificate.Chain).RawData);
        Assert.Equal([_root.Thumbprint, _otherRoot.Thumbprint], Roots(authority, Web.TrustDomain));
        Assert.NotNull(certificate.TlsContext);
        Assert.Equal([Web], authority.Identities);
        Assert.Null(authority.LastError);
        using var key = certificate.Leaf.GetECDsaPrivateKey()!;
        using var publicKey = leaf.GetECDsaPublicKey()!;
        Assert.True(publicKey.VerifyHash(new byte[32], key.SignHash(new byte[32])));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Who_asks_before_the_agent_has_answered_waits_for_it()
    {
        await using var authority = Authority();
        var waiting = authority.IssueAsync(Web, default);
        await _agent.SaysAsync("stream 1 ");
        Assert.False(waiting.IsCompleted);
        await _agent.BringAsync(Svid(Web));

        using var certificate = await waiting.InTime();
        Assert.Equal(Web, certificate.Identity);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_newer_certificate_is_what_the_next_one_who_asks_gets()
    {
        await using var authority = Authority();
        await _agent.BringAsync(Svid(Web));
        using var first = await authority.IssueAsync(Web, default).InTime();
        using var same = await authority.IssueAsync(Web, default).InTime();
        Assert.Equal(first.Leaf.Thumbprint, same.Leaf.Thumbprint);

        // Everybody has one of their own: to dispose of it is nobody else's loss.
        same.Dispose();
        Assert.NotNull(first.TlsContext);

        await _agent.BringAsync(Svid(Web));
        await Eventually.UntilAsync("the newer one is handed out", async () =>
        {
            using var next = await authority.IssueAsync(Web, default).InTime();
            return next.Leaf.Thumbprint != first.Leaf.Thumbprint;
        });
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Of_several_identities_each_has_its_certificate_and_none_that_the_agent_does_not_name()
    {
        await using var authority = Authority();
        await _agent.BringAsync(Svid(Web), Svid(Cart), Svid(Teller, _otherRoot));
        using var cart = await authority.IssueAsync(Cart, default).InTime();
        using var teller = await authority.IssueAsync(Teller, default).InTime();

        Assert.Equal((Cart, Teller), (cart.Identity, teller.Identity));
        Assert.Equal([Web, Cart, Teller], authority.Identities);
        Assert.Equal([_root.Thumbprint], Roots(authority, Cart.TrustDomain));
        Assert.Equal([_otherRoot.Thumbprint], Roots(authority, Teller.TrustDomain));
        Assert.Equal(
            $"the SPIFFE agent at {_agent.Endpoint} has no identity spiffe://cluster.local/ns/shop/sa/none for this program, but {Web}, {Cart}, {Teller}",
            await RefusalAsync(authority, SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/none")));

        await _agent.BringAsync(Svid(Web));
        await Eventually.Until("the others are withdrawn", () => authority.Identities.Count == 1);
        Assert.Contains("has no identity", await RefusalAsync(authority, Cart), StringComparison.Ordinal);
        Assert.Empty(Roots(authority, Teller.TrustDomain));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Bundles_follow_the_stream_and_only_a_change_is_one()
    {
        await using var authority = Authority();
        var changes = 0;
        authority.TrustBundle.Changed += (_, _) => Interlocked.Increment(ref changes);
        await _agent.BringAsync([Svid(Web)], new JsonObject { ["spiffe://bank.example"] = SpiffeAgentPeer.Bundle(_otherRoot) });
        using var first = await authority.IssueAsync(Web, default).InTime();
        Assert.Equal([_otherRoot.Thumbprint], Roots(authority, Teller.TrustDomain));
        Assert.Equal(2, changes);

        // What would be a federated bundle of the own trust domain has no say in it.
        using var newRoot = TestCertificates.Root("CN=New bank");
        await _agent.BringAsync([Svid(Web)], new JsonObject { ["spiffe://bank.example"] = SpiffeAgentPeer.Bundle(_otherRoot, newRoot), ["spiffe://cluster.local"] = SpiffeAgentPeer.Bundle(newRoot) });
        await Eventually.Until("the new root is there", () => Roots(authority, Teller.TrustDomain).Length == 2);
        Assert.Equal([_root.Thumbprint], Roots(authority, Web.TrustDomain));

        await _agent.BringAsync(Svid(Web));
        await Eventually.Until("the federation has ended", () => Roots(authority, Teller.TrustDomain).Length == 0);
        Assert.Equal(4, Volatile.Read(ref changes));
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("OK")]
    [InlineData("UNAVAILABLE")]
    public async Task However_the_stream_ends_there_is_another_and_nothing_is_lost_meanwhile(string code)
    {
        await using var authority = Authority();
        await _agent.BringAsync(Svid(Web));
        using var first = await authority.IssueAsync(Web, default).InTime();
        await _agent.EndStreamsAsync(code);
        await _agent.SaysAsync("stream 2 ");
        using var second = await authority.IssueAsync(Web, default).InTime();
        Assert.Equal(first.Leaf.Thumbprint, second.Leaf.Thumbprint);

        await _agent.BringAsync(Svid(Cart));
        await Eventually.Until("the second stream is heard", () => authority.Identities[0] == Cart);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task An_agent_that_is_not_there_is_said_to_be_so_and_found_when_it_is()
    {
        await _agent.StopAsync();
        await using var authority = Authority(timeout: TimeSpan.FromMilliseconds(300));
        Assert.StartsWith($"the SPIFFE agent at {_agent.Endpoint} brought no certificate of {Web} in 00:00:00.3000000: Unavailable: ", await RefusalAsync(authority, Web), StringComparison.Ordinal);

        await _agent.RunAsync();
        await _agent.BringAsync(Svid(Web));
        await Eventually.Until("it is found", () => authority.Identities.Count == 1);
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        // Away again, what it brought is handed out for as long as it is valid.
        await _agent.StopAsync();
        await Eventually.Until("the loss is noticed", () => authority.LastError is not null);
        using var again = await authority.IssueAsync(Web, default).InTime();
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Without_permission_there_is_no_identity_until_there_is_one()
    {
        await _agent.RefuseAsync("PERMISSION_DENIED", "no identity issued");
        await using var authority = Authority();
        Assert.Equal($"the SPIFFE agent at {_agent.Endpoint} has no identity for this program: PermissionDenied: no identity issued", await RefusalAsync(authority, Web));

        await _agent.RefuseAsync(null);
        await _agent.BringAsync(Svid(Web));
        await Eventually.Until("it is registered", () => authority.Identities.Count == 1);
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        // Taken back: what was handed out is good until it expires, but there is no more of it.
        await _agent.RefuseAsync("PERMISSION_DENIED", "no identity issued");
        await _agent.EndStreamsAsync("UNAVAILABLE");
        await Eventually.Until("it is withdrawn", () => authority.Identities.Count == 0);
        Assert.Contains("PermissionDenied", await RefusalAsync(authority, Web), StringComparison.Ordinal);
        Assert.Equal([_root.Thumbprint], Roots(authority, Web.TrustDomain));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task What_cannot_be_used_is_told_and_leaves_what_was_there_and_the_others()
    {
        await using var authority = Authority();
        await _agent.BringAsync(Svid(Web), Svid(Cart));
        using var before = await authority.IssueAsync(Web, default).InTime();
        var garbage = Svid(Web);
        garbage["svid"] = Convert.ToBase64String([0x30, 0x82, 0xFF, 0xFF, 1]);
        await _agent.BringAsync([garbage, Svid(Cart)], new JsonObject { ["spiffe://bank.example"] = "AAAA", ["Not A Domain"] = "", ["spiffe://empty.example"] = "" });
        await Eventually.Until("it is told", () => authority.LastError is not null);

        using var after = await authority.IssueAsync(Web, default).InTime();
        using var cart = await authority.IssueAsync(Cart, default).InTime();
        Assert.Equal(before.Leaf.Thumbprint, after.Leaf.Thumbprint);
        Assert.Contains($"the certificate of {Web} cannot be used: ", authority.LastError, StringComparison.Ordinal);
        Assert.Contains("the bundle of bank.example cannot be read", authority.LastError, StringComparison.Ordinal);
        Assert.Contains("a bundle has no trust domain", authority.LastError, StringComparison.Ordinal);
        Assert.Contains("the bundle of empty.example is empty", authority.LastError, StringComparison.Ordinal);
        Assert.Equal([TrustDomain.ClusterLocal], authority.TrustBundle.TrustDomains);
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("no certificate", "is empty")]
    [InlineData("another key", "cannot be used: ")]
    [InlineData("no key", "cannot be used: ")]
    [InlineData("another identity", "what is said to be the certificate of spiffe://cluster.local/ns/shop/sa/web is that of spiffe://cluster.local/ns/shop/sa/cart")]
    [InlineData("no identity", "a certificate has no SPIFFE ID")]
    [InlineData("a flood", "there are more than 16 certificates")]
    public async Task A_certificate_that_is_not_what_it_is_said_to_be_is_not_handed_out(string fault, string reason)
    {
        var svid = Svid(Web);
        switch (fault)
        {
            case "no certificate":
                svid["svid"] = "";
                break;
            case "another key":
                svid["key"] = Svid(Web)["key"]!.DeepClone();
                break;
            case "no key":
                svid["key"] = "";
                break;
            case "another identity":
                svid = Svid(Cart);
                svid["id"] = Web.ToString();
                break;
            case "no identity":
                svid["id"] = "web";
                break;
            default:
                svid["svid"] = SpiffeAgentPeer.Bundle([.. Enumerable.Repeat(_root, 17)]);
                break;
        }

        await _agent.BringAsync(svid);
        await using var authority = Authority();
        var refusal = await RefusalAsync(authority, Web);
        Assert.Contains("has no identity for this program", refusal, StringComparison.Ordinal);
        Assert.Contains(reason, refusal, StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Keys_of_RSA_are_as_good()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(TestCertificates.UriNames([Web.ToString()]));
        using var leaf = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddHours(1));
        await _agent.BringAsync(SpiffeAgentPeer.Svid(Web, leaf, [], _root));
        await using var authority = Authority();
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        Assert.NotNull(certificate.Leaf.GetRSAPrivateKey());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Of_several_certificates_of_one_identity_the_first_counts()
    {
        using var first = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()] });
        await _agent.BringAsync(SpiffeAgentPeer.Svid(Web, first, [], _root), Svid(Web));
        await using var authority = Authority();
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        Assert.Equal(first.Thumbprint, certificate.Leaf.Thumbprint);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Bundles_have_a_stream_of_their_own_and_those_with_certificates_count_more()
    {
        var (partner, friend) = (TrustDomain.Parse("partner.example"), TrustDomain.Parse("friend.example"));
        await _agent.BringBundlesAsync(new() { ["partner.example"] = [_otherRoot], ["spiffe://friend.example"] = [_otherRoot], ["cluster.local"] = [_otherRoot] });
        await _agent.BringAsync(Svid(Web));
        await using var authority = Authority();
        using var certificate = await authority.IssueAsync(Web, default).InTime();
        await Eventually.Until("the partners have come", () => Roots(authority, partner).Length == 1 && Roots(authority, friend).Length == 1);
        Assert.Equal([_root.Thumbprint], Roots(authority, Web.TrustDomain));

        // What names nobody takes nothing back; what is whole and lacks a trust domain does.
        await _agent.BringBundlesAsync(new() { ["*"] = [_otherRoot] });
        await _agent.BringBundlesAsync(new() { ["spiffe://friend.example"] = [_root] });
        await Eventually.Until("one is gone, the other changed", () => Roots(authority, partner).Length == 0 && Roots(authority, friend).SequenceEqual([_root.Thumbprint]));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Roots_are_not_taken_back_by_a_message_that_cannot_be_read()
    {
        await _agent.BringAsync(Svid(Web));
        await using var authority = Authority();
        using var certificate = await authority.IssueAsync(Web, default).InTime();
        var nobody = Svid(Cart);
        nobody["id"] = "nobody";
        await _agent.BringAsync(nobody);
        await Eventually.Until("it is told", () => authority.LastError is not null);
        Assert.Equal([_root.Thumbprint], Roots(authority, Web.TrustDomain));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Revocation_lists_follow_the_stream_and_a_broken_one_leaves_the_last()
    {
        using var revoked = TestCertificates.Leaf(_otherRoot);
        await using var authority = Authority();
        await _agent.BringAsync([Svid(Web)], null, TestCertificates.RevocationList(_root), TestCertificates.RevocationList(_otherRoot, revoked));
        using var certificate = await authority.IssueAsync(Web, default).InTime();
        Assert.Equal((2, 1), (authority.TrustBundle.RevocationLists.Count, authority.TrustBundle.RevocationLists.RevokedCount));

        await _agent.BringAsync([Svid(Web)], null, [1, 2, 3]);
        await Eventually.Until("it is told", () => authority.LastError?.Contains("the revocation lists cannot be read", StringComparison.Ordinal) is true);
        Assert.Equal(2, authority.TrustBundle.RevocationLists.Count);

        await _agent.BringAsync(Svid(Web));
        await Eventually.Until("there are none", () => authority.TrustBundle.RevocationLists.Count == 0);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task At_half_of_its_lifetime_the_cache_asks_until_the_agent_has_a_newer_one()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await _agent.BringAsync(Svid(Web));
        await using var authority = Authority();
        await using var certificates = new WorkloadCertificates(authority, new WorkloadCertificatesOptions { BackoffJitter = 0 }, time);
        var first = await certificates.GetAsync(Web).InTime();
        time.Advance(TimeSpan.FromMinutes(40));
        await Eventually.Until("there is nothing newer yet", () => certificates.Status[0].NextRequestAt == time.GetUtcNow() + TimeSpan.FromSeconds(1));
        Assert.Same(first, await certificates.GetAsync(Web).InTime());

        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()], NotAfter = DateTimeOffset.UtcNow.AddHours(2) });
        await _agent.BringAsync(SpiffeAgentPeer.Svid(Web, leaf, [], _root, _otherRoot));
        await Eventually.Until("it has come", () => Roots(authority, Web.TrustDomain).Length == 2);
        await Eventually.Until("it is in use", () =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return certificates.TryGet(Web, out var used) && used.Leaf.Thumbprint == leaf.Thumbprint;
        });
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task What_has_expired_is_not_handed_out()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow.AddHours(2));
        await _agent.BringAsync(Svid(Web));
        await using var authority = new SpiffeWorkloadApi(new SpiffeWorkloadApiOptions { Endpoint = _agent.Endpoint }, time);

        Assert.Contains("since the one that expired at", await RefusalAsync(authority, Web), StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Who_gives_up_is_told_so_and_who_waits_when_the_client_closes_too()
    {
        var authority = Authority();
        using var caller = new CancellationTokenSource();
        var (first, second) = (authority.IssueAsync(Web, caller.Token), authority.IssueAsync(Web, default));
        await _agent.SaysAsync("stream 1 ");
        await caller.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.InTime());
        await authority.DisposeAsync();
        await authority.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => second.InTime());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => authority.IssueAsync(Web, default));
        await _agent.SaysAsync("ended 1");
    }

    [Theory]
    [InlineData("unix:///run/spire/sockets/agent.sock", "/run/spire/sockets/agent.sock")]
    [InlineData("unix:/run/agent.sock", "/run/agent.sock")]
    [InlineData("tcp://127.0.0.1:8081", "127.0.0.1:8081")]
    [InlineData("tcp://[::1]:8081", "[::1]:8081")]
    public void An_endpoint_is_a_socket_or_an_address(string text, string expected) => Assert.Equal(expected, SpiffeEndpoint.Parse(text).ToString());

    [Theory]
    [InlineData("")]
    [InlineData("/run/agent.sock")]
    [InlineData("unix://host/agent.sock")]
    [InlineData("unix:agent.sock")]
    [InlineData("unix:///")]
    [InlineData("unix:///run/agent.sock?x=1")]
    [InlineData("tcp://localhost:8081")]
    [InlineData("tcp://127.0.0.1")]
    [InlineData("tcp://127.0.0.1:0")]
    [InlineData("tcp://127.0.0.1:80/path")]
    [InlineData("tcp://::1:8081")]
    [InlineData("tcp://[127.0.0.1]:8081")]
    [InlineData("https://127.0.0.1:8081")]
    public void What_is_no_endpoint_is_refused(string text) =>
        Assert.Contains("is no address of a SPIFFE agent", Assert.Throws<FormatException>(() => new SpiffeWorkloadApi(new SpiffeWorkloadApiOptions { Endpoint = text })).Message, StringComparison.Ordinal);

    [Fact]
    public void A_path_longer_than_a_socket_may_have_is_refused() =>
        Assert.Contains("longer than", Assert.Throws<FormatException>(() => SpiffeEndpoint.Parse($"unix:///{new string('a', 200)}")).Message, StringComparison.Ordinal);

    private SpiffeWorkloadApi Authority(TimeSpan? timeout = null) => new(new SpiffeWorkloadApiOptions
    {
        Endpoint = _agent.Endpoint,
        Timeout = timeout ?? Eventually.Bound,
        InitialBackoff = TimeSpan.FromMilliseconds(10),
        MaxBackoff = TimeSpan.FromMilliseconds(100),
    });

    private JsonObject Svid(SpiffeId identity, X509Certificate2? root = null)
    {
        using var leaf = TestCertificates.Leaf(root ?? _root, new TestLeaf { Uris = [identity.ToString()] });
        return SpiffeAgentPeer.Svid(identity, leaf, [], root ?? _root);
    }

    private static string[] Roots(SpiffeWorkloadApi authority, TrustDomain trustDomain) => [.. authority.TrustBundle.RootsOf(trustDomain).Select(root => root.Thumbprint)];

    private static async Task<string> RefusalAsync(SpiffeWorkloadApi authority, SpiffeId identity) =>
        (await Assert.ThrowsAsync<CertificateAuthorityException>(() => authority.IssueAsync(identity, default).InTime())).Message;
}
