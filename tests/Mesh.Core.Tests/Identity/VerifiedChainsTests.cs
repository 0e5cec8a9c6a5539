using System.Collections.Immutable;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Mesh.Testing;

namespace Mesh.Core.Identity;

/// <summary>Peers that come again: what is remembered of them, and what is asked anew.</summary>
public sealed class VerifiedChainsTests : IDisposable
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    private readonly X509Certificate2 _root = TestCertificates.Root();
    private readonly X509Certificate2 _otherRoot = TestCertificates.Root();
    private readonly TrustBundle _trust = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);
    private readonly WorkloadCertificate _web;
    private readonly WorkloadCertificate _cart;

    public VerifiedChainsTests()
    {
        _trust.Replace(TrustDomain.ClusterLocal, [_root]);
        _web = new(TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()] }));
        _cart = new(TestCertificates.Leaf(_root, new TestLeaf { Uris = [Cart.ToString()] }));
    }

    private ReadOnlyMemory<byte>[] OfWeb => [_web.Leaf.RawData];

    public void Dispose()
    {
        _web.Dispose();
        _cart.Dispose();
        _root.Dispose();
        _otherRoot.Dispose();
    }

    [Fact]
    public void Who_comes_for_the_first_time_is_verified_and_after_that_is_known()
    {
        var first = ComeAsClient(_web.Leaf);
        Assert.False(first.WasKnown);
        Assert.True(first.IsAccepted);

        var again = ComeAsClient(_web.Leaf);
        Assert.True(again.WasKnown);
        Assert.Equal((Web, _web.NotAfter, 1), (again.Peer.Identity, again.Peer.NotAfter, again.Peer.Chain.Length));
        Assert.Equal((PeerRejection.None, null), (again.Peer.Rejection, again.Peer.Reason));
    }

    [Fact]
    public void Who_was_refused_is_not_known()
    {
        using var leaf = TestCertificates.Leaf(_otherRoot, new TestLeaf { Uris = [Web.ToString()] });
        Assert.False(ComeAsClient(leaf).IsAccepted);
        var again = ComeAsClient(leaf);
        Assert.Equal((false, false, PeerRejection.UntrustedChain), (again.WasKnown, again.IsAccepted, again.Peer.Rejection));
    }

    [Fact]
    public void A_root_that_is_no_longer_trusted_makes_nobody_known()
    {
        ComeAsClient(_web.Leaf);
        _trust.Replace(TrustDomain.ClusterLocal, [_otherRoot]);
        var again = ComeAsClient(_web.Leaf);
        Assert.Equal((false, false, PeerRejection.UntrustedChain), (again.WasKnown, again.IsAccepted, again.Peer.Rejection));

        _trust.Replace(TrustDomain.ClusterLocal, [_otherRoot, _root]);
        Assert.True(ComeAsClient(_web.Leaf).WasKnown);
    }

    [Fact]
    public void Nobody_is_known_after_the_certificate_has_expired()
    {
        ComeAsClient(_web.Leaf);
        _time.Advance(TimeSpan.FromHours(2));
        var again = ComeAsClient(_web.Leaf);
        Assert.Equal((false, false, PeerRejection.Expired), (again.WasKnown, again.IsAccepted, again.Peer.Rejection));
    }

    // The leaf may be good for longer than who has signed it.
    [Theory]
    [InlineData(-1, false)]
    [InlineData(0, true)]
    [InlineData(20, true)]
    [InlineData(21, false)]
    public void A_chain_is_known_while_all_its_certificates_are_valid(int minutes, bool isKnown)
    {
        var begin = _time.GetUtcNow();
        _trust.VerifiedChains.Add(
            VerifiedChains.KeyOf(isServer: false, OfWeb), new VerifiedChain(Web, OfWeb[0], _root.RawData, [], begin, begin.AddMinutes(20), _web.NotAfter));
        var time = new FakeTimeProvider(begin.AddMinutes(minutes));
        var peer = new PeerVerification();
        SpiffeTls.ServerOptions(_cart, _trust, peer, time);
        Assert.Equal(isKnown, peer.TryAcceptAgain(OfWeb));
    }

    [Fact]
    public void Who_was_revoked_is_not_known()
    {
        ComeAsClient(_web.Leaf);
        _trust.ReplaceRevocationLists(RevocationLists.Parse(TestCertificates.RevocationList(_root, _web.Leaf)));
        var again = ComeAsClient(_web.Leaf);
        Assert.Equal((false, false, PeerRejection.Revoked), (again.WasKnown, again.IsAccepted, again.Peer.Rejection));
    }

    [Fact]
    public void Who_is_known_must_be_expected_too()
    {
        Assert.True(ComeAsServer(_cart.Leaf, Cart).IsAccepted);
        Assert.True(ComeAsServer(_cart.Leaf, Cart).WasKnown);
        var again = ComeAsServer(_cart.Leaf, Web);
        Assert.Equal((false, false, PeerRejection.UnexpectedIdentity), (again.WasKnown, again.IsAccepted, again.Peer.Rejection));
    }

    // Certificates may be good for one of the sides alone.
    [Fact]
    public void Who_is_known_as_a_client_is_not_known_as_a_server()
    {
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()], Usages = [TestLeaf.ClientAuthentication] });
        Assert.True(ComeAsClient(leaf).IsAccepted);
        Assert.True(ComeAsClient(leaf).WasKnown);
        var again = ComeAsServer(leaf, Web);
        Assert.Equal((false, false, PeerRejection.WrongUsage), (again.WasKnown, again.IsAccepted, again.Peer.Rejection));
    }

    [Fact]
    public void Another_chain_under_the_same_leaf_is_another()
    {
        using var intermediate = TestCertificates.Intermediate(_root);
        using var leaf = TestCertificates.Leaf(intermediate, new TestLeaf { Uris = [Web.ToString()] });
        Assert.True(ComeAsClient(leaf, intermediate).IsAccepted);
        Assert.Equal((false, false), (ComeAsClient(leaf).WasKnown, ComeAsClient(leaf).IsAccepted));
    }

    // Whoever asks about one and verifies another has not made the first one known.
    [Fact]
    public void What_was_asked_about_is_not_known_by_what_was_verified()
    {
        var peer = new PeerVerification();
        var options = SpiffeTls.ServerOptions(_cart, _trust, peer, _time);
        Assert.False(peer.TryAcceptAgain(OfWeb));
        Assert.True(Verify(options.RemoteCertificateValidationCallback!, options.CertificateChainPolicy!, _cart.Leaf));

        Assert.False(ComeAsClient(_web.Leaf).WasKnown);
    }

    [Fact]
    public void Without_options_or_certificates_nobody_is_known()
    {
        Assert.False(new PeerVerification().TryAcceptAgain(OfWeb));
        var peer = new PeerVerification();
        SpiffeTls.ServerOptions(_cart, _trust, peer, _time);
        Assert.False(peer.TryAcceptAgain([]));
    }

    [Fact]
    public void Who_has_not_come_for_long_is_forgotten_and_who_comes_is_not()
    {
        var chains = new VerifiedChains();
        var chain = new VerifiedChain(Web, default, default, [], default, default, default);
        chains.Add("seldom", chain);
        chains.Add("often", chain);
        for (var i = 0; i < 3 * VerifiedChains.Capacity; i++)
        {
            chains.Add($"{i}", chain);
            Assert.NotNull(chains.Find("often"));
        }

        Assert.Null(chains.Find("seldom"));
        Assert.InRange(Enumerable.Range(0, 3 * VerifiedChains.Capacity).Count(i => chains.Find($"{i}") is not null), 1, 2 * VerifiedChains.Capacity);
    }

    private (bool WasKnown, bool IsAccepted, PeerVerification Peer) ComeAsClient(X509Certificate2 leaf, params X509Certificate2[] intermediates)
    {
        var peer = new PeerVerification();
        var options = SpiffeTls.ServerOptions(_cart, _trust, peer, _time);
        return Come(peer, options.RemoteCertificateValidationCallback!, options.CertificateChainPolicy!, leaf, intermediates);
    }

    private (bool WasKnown, bool IsAccepted, PeerVerification Peer) ComeAsServer(X509Certificate2 leaf, SpiffeId expected)
    {
        var peer = new PeerVerification();
        var options = SpiffeTls.ClientOptions(_web, _trust, [expected], peer, _time);
        return Come(peer, options.RemoteCertificateValidationCallback!, options.CertificateChainPolicy!, leaf);
    }

    private static (bool WasKnown, bool IsAccepted, PeerVerification Peer) Come(
        PeerVerification peer, RemoteCertificateValidationCallback callback, X509ChainPolicy policy, X509Certificate2 leaf, params X509Certificate2[] intermediates)
    {
        ImmutableArray<ReadOnlyMemory<byte>> presented = [leaf.RawData, .. intermediates.Select(one => (ReadOnlyMemory<byte>)one.RawData)];
        return peer.TryAcceptAgain(presented) ? (true, true, peer) : (false, Verify(callback, policy, leaf, intermediates), peer);
    }

    private static bool Verify(RemoteCertificateValidationCallback callback, X509ChainPolicy policy, X509Certificate2 leaf, params X509Certificate2[] intermediates)
    {
        using var chain = new X509Chain { ChainPolicy = policy };
        policy.ExtraStore.AddRange(intermediates);
        var isBuilt = chain.Build(leaf);
        return callback(new object(), leaf, chain, isBuilt ? SslPolicyErrors.None : SslPolicyErrors.RemoteCertificateChainErrors);
    }
}
