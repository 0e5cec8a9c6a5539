using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using Mesh.Core.Identity;
using Mesh.Testing;
using static Mesh.Xds.ControlPlanePeer;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>The client against an authority on gRPC's C core that signs with openssl (ztunnel §4, §15.9).</summary>
public sealed class IstioCertificateAuthorityTests : IAsyncLifetime
{
    private const string Reason = "the pod is not on this node";
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    private ControlPlanePeer _server = null!;

    // Nothing to begin with where the peer is missing; the tests are skipped then.
    public async Task InitializeAsync()
    {
        if (File.Exists(Protoc))
        {
            _server = await StartAsync();
        }
    }

    public async Task DisposeAsync() => await (_server?.DisposeAsync() ?? default);

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task The_request_names_the_workload_its_lifetime_and_who_asks()
    {
        using var authority = Authority(lifetime: TimeSpan.FromMinutes(10));
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        var request = await _server.NextRequestAsync();
        Assert.Equal(600, (double?)request["validity"]);
        Assert.Equal(Web.ToString(), (string?)request["impersonated"]);
        Assert.Equal("Bearer token-1", (string?)request["authorization"]);
        Assert.Equal("Kubernetes", (string?)request["clusterid"]);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task The_signing_request_has_an_empty_subject_and_one_critical_name()
    {
        using var authority = Authority();
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        var request = CertificateRequest.LoadSigningRequestPem((string)(await _server.NextRequestAsync())["csr"]!, HashAlgorithmName.SHA256, CertificateRequestLoadOptions.UnsafeLoadCertificateExtensions);
        Assert.Equal("", request.SubjectName.Name);
        var extension = Assert.Single(request.CertificateExtensions);
        Assert.Equal(("2.5.29.17", true), (extension.Oid!.Value, extension.Critical));
        Assert.Equal(TestCertificates.UriNames([Web.ToString()]).RawData, extension.RawData);
        Assert.Equal("1.2.840.10045.3.1.7", ECCurveOf(request));
        Assert.Equal(certificate.Leaf.PublicKey.EncodedKeyValue.RawData, request.PublicKey.EncodedKeyValue.RawData);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Who_acts_for_itself_impersonates_nobody_and_lets_the_authority_read_the_signing_request()
    {
        using var authority = Authority(impersonate: false);
        using var certificate = await authority.IssueAsync(Web, default).InTime();

        Assert.Null((await _server.NextRequestAsync())["impersonated"]);
        Assert.Equal(Web, certificate.Identity);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Each_request_has_a_key_of_its_own_and_the_token_as_it_is_then()
    {
        using var authority = Authority();
        using var first = await authority.IssueAsync(Web, default).InTime();
        await File.WriteAllTextAsync(_server.TokenPath, "token-2");
        using var second = await authority.IssueAsync(Web, default).InTime();

        await _server.NextRequestAsync();
        Assert.Equal("Bearer token-2", (string?)(await _server.NextRequestAsync())["authorization"]);
        Assert.NotEqual(first.Leaf.PublicKey.EncodedKeyValue.RawData, second.Leaf.PublicKey.EncodedKeyValue.RawData);
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("", "is empty")]
    [InlineData(null, "is not there")]
    [InlineData("one\ntwo", "has spaces or characters that no token has")]
    public async Task Without_a_token_that_can_be_sent_nothing_is_asked_for(string? content, string reason)
    {
        File.Delete(_server.TokenPath);
        if (content is not null)
        {
            await File.WriteAllTextAsync(_server.TokenPath, content);
        }

        using var authority = Authority();
        Assert.Contains(reason, await RefusalAsync(authority), StringComparison.Ordinal);
        Assert.DoesNotContain("request 1", _server.Output, StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task The_certificates_of_two_workloads_shake_hands()
    {
        using var authority = Authority();
        using var web = await authority.IssueAsync(Web, default).InTime();
        using var cart = await authority.IssueAsync(Cart, default).InTime();

        Assert.Equal((null, null), await ShakeHandsAsync(web, cart, authority.TrustBundle));
        Assert.Equal(_server.RootPem.Trim(), Assert.Single(authority.TrustBundle.RootsOf(TrustDomain.ClusterLocal)).ExportCertificatePem());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task All_of_several_roots_are_trusted_and_only_a_change_of_them_is_one()
    {
        using var other = TestCertificates.Root("CN=Old root");
        using var leaf = TestCertificates.Leaf(other, new TestLeaf { Uris = [Cart.ToString()] });
        using var cart = new WorkloadCertificate(leaf);
        using var authority = Authority();
        var changes = 0;
        authority.TrustBundle.Changed += (_, _) => changes++;
        await _server.AuthorityAsync("sign", new JsonObject { ["roots"] = $"{other.ExportCertificatePem()}\n{_server.RootPem}" });
        using var web = await authority.IssueAsync(Web, default).InTime();
        using var again = await authority.IssueAsync(Web, default).InTime();

        Assert.Equal((null, null), await ShakeHandsAsync(web, cart, authority.TrustBundle));
        Assert.Equal((2, 1), (authority.TrustBundle.RootsOf(TrustDomain.ClusterLocal).Length, changes));

        await _server.AuthorityAsync("sign");
        using var third = await authority.IssueAsync(Web, default).InTime();
        Assert.Equal((1, 2), (authority.TrustBundle.RootsOf(TrustDomain.ClusterLocal).Length, changes));
        Assert.NotNull((await ShakeHandsAsync(web, cart, authority.TrustBundle)).Server);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Intermediates_are_presented_and_the_root_is_not()
    {
        using var root = TestCertificates.Root("CN=Offline root");
        using var intermediate = TestCertificates.Intermediate(root);
        using var key = intermediate.GetECDsaPrivateKey()!;
        await _server.AuthorityAsync("sign", new JsonObject
        {
            ["ca"] = _server.Write("intermediate.pem", intermediate.ExportCertificatePem()),
            ["cakey"] = _server.Write("intermediate-key.pem", key.ExportPkcs8PrivateKeyPem()),
            ["intermediates"] = new JsonArray(intermediate.ExportCertificatePem()),
            ["roots"] = root.ExportCertificatePem(),
        });
        using var authority = Authority();
        using var web = await authority.IssueAsync(Web, default).InTime();
        using var cart = await authority.IssueAsync(Cart, default).InTime();

        Assert.Equal(intermediate.RawData, Assert.Single(web.Chain).RawData);
        Assert.Equal((null, null), await ShakeHandsAsync(web, cart, authority.TrustBundle));
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("nothing", "with a chain of 0 elements; needed are the certificate and the roots")]
    [InlineData("leaf", "with a chain of 1 elements")]
    [InlineData("flood", "with a chain of 17 elements")]
    [InlineData("leaf,broken", "that cannot be used")]
    [InlineData("garbage,root", "that cannot be used")]
    [InlineData("broken,root", "that cannot be used")]
    [InlineData("leaf,garbage,root", "that cannot be used")]
    [InlineData("leaf,root", "that cannot be used")]
    public async Task A_chain_that_is_not_one_for_our_key_is_refused(string chain, string reason)
    {
        // The leaf is a good one for the identity, but of another key.
        using var issuer = TestCertificates.Root();
        using var leaf = TestCertificates.Leaf(issuer, new TestLeaf { Uris = [Web.ToString()] });
        var elements = chain switch
        {
            "nothing" => [],
            "flood" => [.. Enumerable.Repeat(leaf.ExportCertificatePem(), 17)],
            _ => chain.Split(',').Select(name => name switch
            {
                "leaf" => leaf.ExportCertificatePem(),
                "root" => issuer.ExportCertificatePem(),
                "broken" => "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                _ => "no certificate at all",
            }).ToArray(),
        };
        await _server.AuthorityAsync("chain", new JsonObject { ["chain"] = new JsonArray([.. elements.Select(element => JsonValue.Create(element))]) });
        using var authority = Authority();

        var refusal = await RefusalAsync(authority);
        Assert.Contains(reason, refusal, StringComparison.Ordinal);
        Assert.Contains(Web.ToString(), refusal, StringComparison.Ordinal);
        Assert.Empty(authority.TrustBundle.TrustDomains);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Our_own_key_with_a_broken_root_or_without_a_name_is_refused()
    {
        using var authority = Authority();
        await _server.AuthorityAsync("sign", new JsonObject { ["roots"] = "none" });
        Assert.Contains("without a root certificate", await RefusalAsync(authority), StringComparison.Ordinal);
        await _server.AuthorityAsync("sign", new JsonObject { ["identity"] = "https://web.shop" });
        Assert.Contains("'https://web.shop' does not begin with spiffe://", await RefusalAsync(authority), StringComparison.Ordinal);
        Assert.Empty(authority.TrustBundle.TrustDomains);
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_leaf_with_another_identity_than_asked_for_is_refused(bool impersonate)
    {
        await _server.AuthorityAsync("sign", new JsonObject { ["identity"] = Cart.ToString() });
        using var authority = Authority(impersonate);

        Assert.Equal($"the authority answered a request for {Web} with a certificate of {Cart}", await RefusalAsync(authority));
        Assert.Empty(authority.TrustBundle.TrustDomains);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_refusal_says_what_the_authority_said()
    {
        await _server.AuthorityAsync("fail", new JsonObject { ["code"] = "UNAUTHENTICATED", ["details"] = Reason });
        using var authority = Authority();

        Assert.Equal($"localhost:{_server.Port} signed no certificate for {Web}: Unauthenticated: {Reason}", await RefusalAsync(authority));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task An_authority_that_does_not_answer_is_given_up()
    {
        await _server.AuthorityAsync("hang", new JsonObject { ["seconds"] = 60 });
        using var authority = Authority(timeout: TimeSpan.FromMilliseconds(200));

        Assert.Contains("DeadlineExceeded", await RefusalAsync(authority), StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_caller_who_gives_up_is_told_so()
    {
        await _server.AuthorityAsync("gate");
        using var authority = Authority();
        using var caller = new CancellationTokenSource();
        var waiting = authority.IssueAsync(Web, caller.Token);
        await _server.NextRequestAsync();
        await caller.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting.InTime());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task An_authority_that_is_away_is_an_error_and_found_when_it_is_back()
    {
        using var authority = Authority();
        using var before = await authority.IssueAsync(Web, default).InTime();
        await _server.StopAsync();
        Assert.Contains($"localhost:{_server.Port} signed no certificate for {Web}: ", await RefusalAsync(authority), StringComparison.Ordinal);

        await _server.RunAsync();
        using var after = await authority.IssueAsync(Web, default).InTime();
        Assert.Equal(Web, after.Identity);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Roots_of_the_authority_are_followed_and_a_broken_file_keeps_the_connection()
    {
        using var other = TestCertificates.Root("CN=Control plane root");
        var roots = _server.Write("trusted.pem", _server.RootPem);
        using var authority = Authority(change: endpoint => endpoint with { RootCertificates = roots });
        using var first = await authority.IssueAsync(Web, default).InTime();

        // Not a new connection that could not be made, but the one that is there.
        _server.Write("trusted.pem", "in the middle of being written");
        using var second = await authority.IssueAsync(Web, default).InTime();
        File.Delete(roots);
        using var third = await authority.IssueAsync(Web, default).InTime();

        _server.Write("trusted.pem", other.ExportCertificatePem());
        Assert.Contains("certificate", await RefusalAsync(authority), StringComparison.Ordinal);
        _server.Write("trusted.pem", _server.RootPem);
        using var fourth = await authority.IssueAsync(Web, default).InTime();
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Roots_that_are_missing_at_first_are_an_error_until_they_are_there()
    {
        var roots = Path.Combine(Path.GetDirectoryName(_server.RootPath)!, "later.pem");
        using var authority = Authority(change: endpoint => endpoint with { RootCertificates = roots });
        Assert.Contains($"{roots} are not there", await RefusalAsync(authority), StringComparison.Ordinal);

        File.Copy(_server.RootPath, roots);
        using var certificate = await authority.IssueAsync(Web, default).InTime();
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task An_identity_that_is_refused_leaves_the_others_unharmed_and_is_asked_for_again()
    {
        await _server.AuthorityAsync("sign", new JsonObject { ["refuse"] = new JsonObject { [Web.ToString()] = Reason } });
        var time = StandingClock();
        using var authority = Authority();
        await using var certificates = new WorkloadCertificates(authority, time: time);

        Assert.Contains(Reason, (await Assert.ThrowsAsync<CertificateAuthorityException>(() => certificates.GetAsync(Web).InTime())).Message, StringComparison.Ordinal);
        Assert.Equal(Cart, (await certificates.GetAsync(Cart).InTime()).Identity);

        await _server.AuthorityAsync("sign");
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(Web, (await certificates.GetAsync(Web).InTime()).Identity);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task At_half_of_its_lifetime_a_certificate_is_renewed_and_the_old_one_serves_while_that_fails()
    {
        var time = StandingClock();
        using var authority = Authority();
        await using var certificates = new WorkloadCertificates(authority, time: time);
        var changes = 0;
        certificates.Changed += (_, _) => Interlocked.Increment(ref changes);
        var first = await certificates.GetAsync(Web).InTime();
        await Eventually.Until("the first is known", () => Volatile.Read(ref changes) == 1);

        await _server.AuthorityAsync("fail", new JsonObject { ["code"] = "UNAVAILABLE", ["details"] = "restarting" });
        time.Advance(TimeSpan.FromHours(12) + TimeSpan.FromMinutes(1));
        await Eventually.Until("the renewal failed", () => Volatile.Read(ref changes) == 2);
        Assert.Same(first, await certificates.GetAsync(Web).InTime());
        Assert.Contains("restarting", Assert.Single(certificates.Status).Error, StringComparison.Ordinal);

        await _server.AuthorityAsync("sign");
        time.Advance(TimeSpan.FromSeconds(2));
        await Eventually.Until("the renewal succeeded", () => Volatile.Read(ref changes) >= 3);
        Assert.NotSame(first, await certificates.GetAsync(Web).InTime());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Eight_requests_at_most_are_on_their_way()
    {
        const int Identities = 24;
        await _server.AuthorityAsync("gate");
        using var authority = Authority(timeout: Eventually.Bound);
        await using var certificates = new WorkloadCertificates(authority);
        var all = Enumerable.Range(0, Identities).Select(i => certificates.GetAsync(SpiffeId.Parse($"spiffe://cluster.local/ns/shop/sa/w{i}")).AsTask()).ToArray();
        await _server.SaysAsync("request 8 ");
        await _server.AuthorityAsync("sign");
        await Task.WhenAll(all).InTime();

        var atOnce = new List<int>();
        for (var i = 0; i < Identities; i++)
        {
            atOnce.Add((int)(await _server.NextRequestAsync())["at_once"]!);
        }

        Assert.Equal(8, atOnce.Max());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Connections_that_wait_go_before_workloads_that_appear_and_those_before_renewals()
    {
        await _server.AuthorityAsync("gate");
        using var authority = Authority(timeout: Eventually.Bound);
        await using var certificates = new WorkloadCertificates(authority, new WorkloadCertificatesOptions { MaxConcurrentRequests = 1 });
        var all = new List<Task> { Ask("first", CertificatePriority.Background) };
        await _server.SaysAsync("request 1 ");
        all.Add(Ask("background", CertificatePriority.Background));
        all.Add(Ask("warmup", CertificatePriority.Warmup));
        all.Add(Ask("realtime", CertificatePriority.RealTime));
        await _server.AuthorityAsync("sign");
        await Task.WhenAll(all).InTime();

        var order = new List<string>();
        for (var i = 0; i < all.Count; i++)
        {
            order.Add(SpiffeId.Parse((string)(await _server.NextRequestAsync())["impersonated"]!).ServiceAccount!);
        }

        Assert.Equal(["first", "realtime", "warmup", "background"], order);

        Task Ask(string name, CertificatePriority priority) => certificates.GetAsync(SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", name), priority).AsTask();
    }

    [Fact]
    public async Task A_closed_client_answers_nobody()
    {
        var authority = new IstioCertificateAuthority(new IstioCertificateAuthorityOptions { Endpoint = new ControlPlaneEndpoint { Address = new Uri("https://localhost:1") } });
        authority.Dispose();
        authority.Dispose();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => authority.IssueAsync(Web, default));
    }

    // A minute ahead: the authority's clock goes on, and what it issues in its next second must be valid by this one.
    private static FakeTimeProvider StandingClock() => new(DateTimeOffset.UtcNow.AddMinutes(1));

    private IstioCertificateAuthority Authority(
        bool impersonate = true, TimeSpan? lifetime = null, TimeSpan? timeout = null, Func<ControlPlaneEndpoint, ControlPlaneEndpoint>? change = null) => new(new IstioCertificateAuthorityOptions
        {
            Endpoint = change?.Invoke(_server.Endpoint) ?? _server.Endpoint,
            Impersonate = impersonate,
            Lifetime = lifetime ?? TimeSpan.FromDays(1),
            Timeout = timeout ?? TimeSpan.FromSeconds(10),
        });

    private static async Task<string> RefusalAsync(IstioCertificateAuthority authority) =>
        (await Assert.ThrowsAsync<CertificateAuthorityException>(() => authority.IssueAsync(Web, default).InTime())).Message;

    private static string? ECCurveOf(CertificateRequest request)
    {
        using var key = request.PublicKey.GetECDsaPublicKey();
        return key?.ExportParameters(includePrivateParameters: false).Curve.Oid.Value;
    }

    // Why either side refused the other; null when it did not.
    private static async Task<(string? Client, string? Server)> ShakeHandsAsync(WorkloadCertificate client, WorkloadCertificate server, TrustBundle trust)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        using var connecting = new TcpClient();
        await connecting.ConnectAsync((IPEndPoint)listener.LocalEndpoint).InTime();
        using var accepted = await listener.AcceptTcpClientAsync().InTime();
        var (ofClient, ofServer) = (new PeerVerification(), new PeerVerification());
        await using var clientTls = new SslStream(connecting.GetStream());
        await using var serverTls = new SslStream(accepted.GetStream());
        var serving = serverTls.AuthenticateAsServerAsync(SpiffeTls.ServerOptions(server, trust, ofClient, TimeProvider.System));
        await clientTls.AuthenticateAsClientAsync(SpiffeTls.ClientOptions(client, trust, [server.Identity], ofServer, TimeProvider.System)).InTime().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        connecting.Client.Shutdown(SocketShutdown.Send);
        await serving.InTime().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return (ofClient.Reason, ofServer.Reason);
    }
}
