using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Mesh.Testing;

namespace Mesh.Core.Identity;

/// <summary>Real handshakes over a loopback socket (ztunnel §3).</summary>
public sealed class SpiffeTlsTests : IDisposable
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    private readonly X509Certificate2 _root = TestCertificates.Root();
    private readonly X509Certificate2 _otherRoot = TestCertificates.Root();
    private readonly TrustBundle _trust = new();
    private readonly PeerVerification _client = new();
    private readonly PeerVerification _server = new();
    private readonly WorkloadCertificate _web;
    private readonly WorkloadCertificate _cart;

    public SpiffeTlsTests()
    {
        _trust.Replace(TrustDomain.ClusterLocal, [_root]);
        _web = Certificate(Web);
        _cart = Certificate(Cart);
    }

    public static TheoryData<string, TestLeaf, PeerRejection, string> BadPeers => new()
    {
        { "several URI names", new() { Uris = [Web.ToString(), Cart.ToString()] }, PeerRejection.SeveralUriNames, $"the certificate has 2 URI names (SAN); exactly one is allowed: {Web}, {Cart}" },
        { "no URI name", new() { Uris = [] }, PeerRejection.NoSpiffeId, "the certificate has no URI name (SAN), so no SPIFFE ID" },
        { "no SPIFFE ID", new() { Uris = ["https://web.shop"] }, PeerRejection.InvalidSpiffeId, "'https://web.shop' does not begin with spiffe://" },
        { "expired", new() { NotBefore = DateTimeOffset.UtcNow.AddHours(-2), NotAfter = DateTimeOffset.UtcNow.AddHours(-1) }, PeerRejection.Expired, $"certificate of {Web}: expired at " },
        { "not yet valid", new() { NotBefore = DateTimeOffset.UtcNow.AddHours(1), NotAfter = DateTimeOffset.UtcNow.AddHours(2) }, PeerRejection.NotYetValid, $"certificate of {Web}: not valid before " },
        { "self-signed", new() { SelfSigned = true }, PeerRejection.SelfSigned, $"certificate of {Web}: it is self-signed and not a root of the trust domain cluster.local" },
        { "a CA", new() { IsCertificateAuthority = true }, PeerRejection.WrongUsage, $"certificate of {Web}: it is a CA certificate; a workload's must not be" },
        { "a self-signed CA", new() { IsCertificateAuthority = true, SelfSigned = true }, PeerRejection.WrongUsage, $"certificate of {Web}: it is a CA certificate; a workload's must not be" },
        { "for another use", new() { Usages = ["1.3.6.1.5.5.7.3.3"] }, PeerRejection.WrongUsage, $"certificate of {Web}: its extended key usage does not allow this side of a TLS connection" },
    };

    public void Dispose()
    {
        _web.Dispose();
        _cart.Dispose();
        _root.Dispose();
        _otherRoot.Dispose();
    }

    [Fact]
    public async Task A_good_pair_proves_both_identities()
    {
        Assert.True(await ShakeHandsAsync(Server(), Client()));
        Assert.Equal((Web, Cart), (_client.Identity, _server.Identity));
    }

    [Fact]
    public async Task A_good_pair_breaks_no_rule()
    {
        Assert.True(await ShakeHandsAsync(Server(), Client()));
        Assert.Equal((PeerRejection.None, null, PeerRejection.None, null), (_client.Rejection, _client.Reason, _server.Rejection, _server.Reason));
    }

    [Fact]
    public async Task The_end_of_validity_of_the_peer_is_known()
    {
        Assert.True(await ShakeHandsAsync(Server(), Client()));
        Assert.Equal((_web.NotAfter, _cart.NotAfter), (_client.NotAfter, _server.NotAfter));
    }

    [Fact]
    public async Task Certificates_of_a_development_authority_make_a_good_pair()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        using var web = authority.Issue(Web);
        using var cart = authority.Issue(Cart);
        Assert.True(await ShakeHandsAsync(
            SpiffeTls.ServerOptions(cart, authority.TrustBundle, _client, TimeProvider.System),
            SpiffeTls.ClientOptions(web, authority.TrustBundle, [Cart], _server, TimeProvider.System)));
    }

    [Fact]
    public async Task A_chain_by_way_of_an_intermediate_is_accepted()
    {
        using var intermediate = TestCertificates.Intermediate(_root);
        using var web = new WorkloadCertificate(
            TestCertificates.Leaf(intermediate, new TestLeaf { Uris = [Web.ToString()] }), X509CertificateLoader.LoadCertificate(intermediate.RawData));

        Assert.True(await ShakeHandsAsync(Server(), Client(web)), _client.Reason);
    }

    [Fact]
    public async Task A_peer_of_any_of_several_roots_is_accepted()
    {
        _trust.Replace(TrustDomain.ClusterLocal, [_otherRoot, _root]);
        Assert.True(await ShakeHandsAsync(Server(), Client()), _client.Reason);
    }

    [Fact]
    public async Task A_server_of_another_trust_domain_is_accepted_by_who_expects_it()
    {
        var other = SpiffeId.Parse("spiffe://other.example/ns/shop/sa/cart");
        _trust.Replace(other.TrustDomain, [_otherRoot]);
        using var leaf = TestCertificates.Leaf(_otherRoot, new TestLeaf { Uris = [other.ToString()] });
        await ShakeHandsAsync(Presenting(Server(), leaf), Client(expected: other));

        Assert.Equal(other, _server.Identity);
    }

    [Theory]
    [MemberData(nameof(BadPeers))]
    public async Task A_bad_client_is_rejected_by_the_rule_that_it_broke(string what, TestLeaf shape, PeerRejection rejection, string reason)
    {
        using var leaf = TestCertificates.Leaf(_root, shape);
        Assert.False(await ShakeHandsAsync(Server(), Presenting(Client(), leaf)), what);
        Assert.Equal(rejection, _client.Rejection);
        Assert.StartsWith(reason, _client.Reason);
        Assert.Null(_client.Identity);
    }

    [Theory]
    [MemberData(nameof(BadPeers))]
    public async Task A_bad_server_is_rejected_by_the_rule_that_it_broke(string what, TestLeaf shape, PeerRejection rejection, string reason)
    {
        using var leaf = TestCertificates.Leaf(_root, shape);
        Assert.False(await ShakeHandsAsync(Presenting(Server(), leaf), Client(expected: Web)), what);
        Assert.Equal(rejection, _server.Rejection);
        Assert.StartsWith(reason, _server.Reason);
        Assert.Null(_server.Identity);
    }

    [Fact]
    public async Task A_client_without_certificate_is_rejected()
    {
        var options = Client();
        options.ClientCertificateContext = null;

        Assert.False(await ShakeHandsAsync(Server(), options));
        Assert.Equal((PeerRejection.NoCertificate, "the peer presented no certificate"), (_client.Rejection, _client.Reason));
    }

    [Fact]
    public async Task A_client_of_another_trust_domain_is_rejected_even_under_the_same_root()
    {
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Uris = ["spiffe://other.example/ns/shop/sa/web"] });

        Assert.False(await ShakeHandsAsync(Server(), Presenting(Client(), leaf)));
        Assert.Equal(
            (PeerRejection.WrongTrustDomain, "peer identity spiffe://other.example/ns/shop/sa/web is not of the trust domain cluster.local"),
            (_client.Rejection, _client.Reason));
    }

    [Fact]
    public async Task A_client_of_another_root_of_the_same_name_is_rejected()
    {
        using var leaf = TestCertificates.Leaf(_otherRoot);

        Assert.False(await ShakeHandsAsync(Server(), Presenting(Client(), leaf)));
        Assert.Equal(PeerRejection.UntrustedChain, _client.Rejection);
        Assert.StartsWith($"certificate of {Web}: its chain does not end in a root of the trust domain cluster.local", _client.Reason);
    }

    [Fact]
    public async Task A_client_that_sends_its_own_root_along_is_rejected()
    {
        using var leaf = TestCertificates.Leaf(_otherRoot);
        var options = Client();
        options.ClientCertificateContext = SslStreamCertificateContext.Create(leaf, [X509CertificateLoader.LoadCertificate(_otherRoot.RawData)], offline: true);

        Assert.False(await ShakeHandsAsync(Server(), options));
        Assert.Equal(PeerRejection.UntrustedChain, _client.Rejection);
    }

    [Fact]
    public async Task A_client_with_a_certificate_for_servers_alone_is_rejected()
    {
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Usages = [TestLeaf.ServerAuthentication] });

        Assert.False(await ShakeHandsAsync(Server(), Presenting(Client(), leaf)));
        Assert.Equal(PeerRejection.WrongUsage, _client.Rejection);
    }

    [Fact]
    public async Task A_server_with_a_certificate_for_clients_alone_is_rejected()
    {
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Usages = [TestLeaf.ClientAuthentication], Uris = [Cart.ToString()] });

        Assert.False(await ShakeHandsAsync(Presenting(Server(), leaf), Client()));
        Assert.Equal(PeerRejection.WrongUsage, _server.Rejection);
    }

    [Fact]
    public async Task A_server_that_is_not_expected_is_rejected()
    {
        var expected = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/payment");

        Assert.False(await ShakeHandsAsync(Server(), Client(expected: expected)));
        Assert.Equal((PeerRejection.UnexpectedIdentity, $"peer identity {Cart} is not one of the expected: {expected}"), (_server.Rejection, _server.Reason));
    }

    [Fact]
    public async Task Who_expects_nobody_rejects_every_server()
    {
        Assert.False(await ShakeHandsAsync(Server(), SpiffeTls.ClientOptions(_web, _trust, [], _server, TimeProvider.System)));
        Assert.Equal((PeerRejection.UnexpectedIdentity, $"peer identity {Cart} is not one of the expected: (none)"), (_server.Rejection, _server.Reason));
    }

    [Fact]
    public async Task A_long_list_of_expected_servers_is_cut()
    {
        var expected = Enumerable.Range(0, 7).Select(number => SpiffeId.Parse($"spiffe://cluster.local/{number}")).ToList();

        Assert.False(await ShakeHandsAsync(Server(), SpiffeTls.ClientOptions(_web, _trust, expected, _server, TimeProvider.System)));
        Assert.EndsWith("spiffe://cluster.local/4 and 2 more", _server.Reason);
    }

    [Fact]
    public async Task Validity_is_judged_by_the_given_clock()
    {
        var tomorrow = new FakeTimeProvider(DateTimeOffset.UtcNow.AddDays(1));

        Assert.False(await ShakeHandsAsync(SpiffeTls.ServerOptions(_cart, _trust, _client, tomorrow), Client()));
        Assert.Equal(PeerRejection.Expired, _client.Rejection);
    }

    [Fact]
    public async Task A_client_of_tls_1_2_is_refused()
    {
        var options = Client();
        options.EnabledSslProtocols = SslProtocols.Tls12;
        options.CipherSuitesPolicy = null;

        Assert.False(await ShakeHandsAsync(Server(), options));
    }

    [Fact]
    public async Task A_server_of_tls_1_2_is_refused()
    {
        var options = Server();
        options.EnabledSslProtocols = SslProtocols.Tls12;
        options.CipherSuitesPolicy = null;

        Assert.False(await ShakeHandsAsync(options, Client()));
    }

    [Fact]
    public async Task A_client_that_speaks_no_h2_is_refused()
    {
        var options = Client();
        options.ApplicationProtocols = [SslApplicationProtocol.Http11];

        Assert.False(await ShakeHandsAsync(Server(), options));
    }

    [Fact]
    public async Task New_roots_take_effect_on_the_next_handshake()
    {
        Assert.True(await ShakeHandsAsync(Server(), Client()));
        _trust.Replace(TrustDomain.ClusterLocal, [_otherRoot]);

        Assert.False(await ShakeHandsAsync(Server(), Client()));
        Assert.Equal(PeerRejection.UntrustedChain, _server.Rejection);
    }

    private WorkloadCertificate Certificate(SpiffeId identity) => new(TestCertificates.Leaf(_root, new TestLeaf { Uris = [identity.ToString()] }));

    private SslServerAuthenticationOptions Server() => SpiffeTls.ServerOptions(_cart, _trust, _client, TimeProvider.System);

    private SslClientAuthenticationOptions Client(WorkloadCertificate? certificate = null, SpiffeId? expected = null) =>
        SpiffeTls.ClientOptions(certificate ?? _web, _trust, [expected ?? Cart], _server, TimeProvider.System);

    private static SslServerAuthenticationOptions Presenting(SslServerAuthenticationOptions options, X509Certificate2 leaf)
    {
        options.ServerCertificateContext = SslStreamCertificateContext.Create(leaf, null, offline: true);
        return options;
    }

    private static SslClientAuthenticationOptions Presenting(SslClientAuthenticationOptions options, X509Certificate2 leaf)
    {
        options.ClientCertificateContext = SslStreamCertificateContext.Create(leaf, null, offline: true);
        return options;
    }

    /// <summary>Whether both sides finished the handshake and heard a byte of the other.</summary>
    internal static async Task<bool> ShakeHandsAsync(SslServerAuthenticationOptions serverOptions, SslClientAuthenticationOptions clientOptions)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        using var client = new TcpClient();
        var accept = listener.AcceptTcpClientAsync();
        await client.ConnectAsync((IPEndPoint)listener.LocalEndpoint).InTime();
        using var server = await accept.InTime();
        var results = await Task.WhenAll(
            SideAsync(server, stream => stream.AuthenticateAsServerAsync(serverOptions)),
            SideAsync(client, stream => stream.AuthenticateAsClientAsync(clientOptions))).InTime();
        return results.All(finished => finished);
    }

    private static async Task<bool> SideAsync(TcpClient connection, Func<SslStream, Task> authenticate)
    {
        var stream = new SslStream(connection.GetStream());
        try
        {
            await authenticate(stream);
            await stream.WriteAsync(new byte[1]);
            return await stream.ReadAsync(new byte[1]) == 1;
        }
        catch (Exception e) when (e is AuthenticationException or IOException)
        {
            return false;
        }
        finally
        {
            // Half-close only: a reset could overtake what the other side has yet to read.
            connection.Client.Shutdown(SocketShutdown.Send);
        }
    }
}
