namespace Mesh.Core.Identity;

/// <summary>Trust domain aliases in real handshakes: whose certificate is accepted, and against whose roots it is held.</summary>
public sealed class SpiffeTlsAliasTests : IDisposable
{
    private static readonly TrustDomain Old = TrustDomain.Parse("old.example");
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId OldWeb = SpiffeId.Parse("spiffe://old.example/ns/shop/sa/web");
    private static readonly SpiffeId Stranger = SpiffeId.Parse("spiffe://stranger.example/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly DevelopmentCertificateAuthority _oldAuthority = DevelopmentCertificateAuthority.Create();
    private readonly PeerVerification _peer = new();

    /// <summary>The roots that stand in the bundle.</summary>
    public enum Roots
    {
        Ours,
        OursAndOfTheAlias,
        OfTheAlias,
    }

    /// <summary>Who comes, signed by the authority of the alias or by ours, with which roots; and the rule that it breaks, with aliases and without.</summary>
    public static TheoryData<string, bool, Roots, PeerRejection, PeerRejection> Peers => new()
    {
        { "cluster.local", false, Roots.Ours, PeerRejection.None, PeerRejection.None },
        { "old.example", false, Roots.Ours, PeerRejection.None, PeerRejection.WrongTrustDomain },
        { "old.example", true, Roots.Ours, PeerRejection.UntrustedChain, PeerRejection.WrongTrustDomain },

        // An alias with roots of its own is held against those alone, and they vouch for no name but it.
        { "cluster.local", false, Roots.OursAndOfTheAlias, PeerRejection.None, PeerRejection.None },
        { "old.example", true, Roots.OursAndOfTheAlias, PeerRejection.None, PeerRejection.WrongTrustDomain },
        { "old.example", false, Roots.OursAndOfTheAlias, PeerRejection.UntrustedChain, PeerRejection.WrongTrustDomain },
        { "cluster.local", true, Roots.OursAndOfTheAlias, PeerRejection.UntrustedChain, PeerRejection.UntrustedChain },

        // The roots of an alias are not ours.
        { "cluster.local", true, Roots.OfTheAlias, PeerRejection.UntrustedChain, PeerRejection.UntrustedChain },
        { "old.example", true, Roots.OfTheAlias, PeerRejection.None, PeerRejection.WrongTrustDomain },

        { "stranger.example", false, Roots.OursAndOfTheAlias, PeerRejection.WrongTrustDomain, PeerRejection.WrongTrustDomain },
        { "stranger.example", true, Roots.OursAndOfTheAlias, PeerRejection.WrongTrustDomain, PeerRejection.WrongTrustDomain },
    };

    public void Dispose()
    {
        _authority.Dispose();
        _oldAuthority.Dispose();
    }

    [Theory]
    [MemberData(nameof(Peers))]
    public async Task A_client(string trustDomain, bool isOfTheAliasAuthority, Roots roots, PeerRejection withAliases, PeerRejection without)
    {
        foreach (var (aliases, rejection) in new[] { (TrustDomainAliases.Create(Old), withAliases), (TrustDomainAliases.None, without) })
        {
            using var web = Issue(trustDomain, "web", isOfTheAliasAuthority);
            using var cart = _authority.Issue(Cart);
            var client = SpiffeTls.ClientOptions(web, _authority.TrustBundle, [Cart], new PeerVerification(), TimeProvider.System, aliases);
            client.RemoteCertificateValidationCallback = static (_, leaf, _, _) => leaf is not null;
            var isDone = await SpiffeTlsTests.ShakeHandsAsync(SpiffeTls.ServerOptions(cart, Bundle(roots), _peer, TimeProvider.System, aliases), client);
            Expect(rejection, isDone, web.Identity);
        }
    }

    [Theory]
    [MemberData(nameof(Peers))]
    public async Task A_server(string trustDomain, bool isOfTheAliasAuthority, Roots roots, PeerRejection withAliases, PeerRejection without)
    {
        foreach (var (aliases, rejection) in new[] { (TrustDomainAliases.Create(Old), withAliases), (TrustDomainAliases.None, without) })
        {
            using var cart = Issue(trustDomain, "cart", isOfTheAliasAuthority);
            using var web = _authority.Issue(Web);
            var server = SpiffeTls.ServerOptions(cart, _authority.TrustBundle, new PeerVerification(), TimeProvider.System, aliases);
            server.RemoteCertificateValidationCallback = static (_, leaf, _, _) => leaf is not null;
            var isDone = await SpiffeTlsTests.ShakeHandsAsync(server, SpiffeTls.ClientOptions(web, Bundle(roots), [Cart], _peer, TimeProvider.System, aliases));

            // Who connects asks for one server, not for one of a trust domain.
            Expect(rejection is PeerRejection.WrongTrustDomain ? PeerRejection.UnexpectedIdentity : rejection, isDone, cart.Identity);
        }
    }

    [Theory]
    [InlineData("spiffe://old.example/ns/shop/sa/cart", "spiffe://cluster.local/ns/shop/sa/cart", true)]
    [InlineData("spiffe://old.example/ns/shop/sa/cart", "spiffe://old.example/ns/shop/sa/cart", true)]
    [InlineData("spiffe://old.example/ns/shop/sa/payment", "spiffe://cluster.local/ns/shop/sa/cart", false)]
    [InlineData("spiffe://stranger.example/ns/shop/sa/cart", "spiffe://cluster.local/ns/shop/sa/cart", false)]
    public async Task An_expected_server_may_come_under_another_name(string expected, string actual, bool isAccepted)
    {
        using var web = _authority.Issue(Web);
        using var cart = _authority.Issue(SpiffeId.Parse(actual));

        // What is ours is that of each side, so that both names are named.
        var aliases = TrustDomainAliases.Create(Old, TrustDomain.ClusterLocal);
        Assert.Equal(isAccepted, await SpiffeTlsTests.ShakeHandsAsync(
            SpiffeTls.ServerOptions(cart, _authority.TrustBundle, new PeerVerification(), TimeProvider.System, aliases),
            SpiffeTls.ClientOptions(web, _authority.TrustBundle, [SpiffeId.Parse(expected)], _peer, TimeProvider.System, aliases)));
        Assert.Equal(isAccepted ? cart.Identity : null, _peer.Identity);
    }

    [Fact]
    public async Task A_refusal_names_the_aliases()
    {
        using var web = _authority.Issue(Stranger);
        using var cart = _authority.Issue(Cart);
        var aliases = TrustDomainAliases.Create(Old);
        await SpiffeTlsTests.ShakeHandsAsync(
            SpiffeTls.ServerOptions(cart, _authority.TrustBundle, _peer, TimeProvider.System, aliases),
            SpiffeTls.ClientOptions(web, _authority.TrustBundle, [Cart], new PeerVerification(), TimeProvider.System, aliases));
        Assert.Equal($"peer identity {Stranger} is not of the trust domain cluster.local (aliases of ours: old.example)", _peer.Reason);
    }

    [Fact]
    public async Task An_alias_whose_roots_are_withdrawn_is_held_against_ours()
    {
        var bundle = Bundle(Roots.OursAndOfTheAlias);
        bundle.Replace(Old, []);
        using var ofTheAlias = _oldAuthority.Issue(OldWeb);
        using var ofOurs = _authority.Issue(OldWeb);
        using var cart = _authority.Issue(Cart);
        foreach (var (web, isAccepted) in new[] { (ofTheAlias, false), (ofOurs, true) })
        {
            Assert.Equal(isAccepted, await SpiffeTlsTests.ShakeHandsAsync(
                SpiffeTls.ServerOptions(cart, bundle, _peer, TimeProvider.System, TrustDomainAliases.Create(Old)),
                SpiffeTls.ClientOptions(web, _authority.TrustBundle, [Cart], new PeerVerification(), TimeProvider.System)));
        }
    }

    private void Expect(PeerRejection rejection, bool isDone, SpiffeId identity)
    {
        Assert.Equal((rejection, rejection is PeerRejection.None), (_peer.Rejection, isDone));
        Assert.Equal(isDone ? identity : null, _peer.Identity);
    }

    private WorkloadCertificate Issue(string trustDomain, string serviceAccount, bool isOfTheAliasAuthority) =>
        (isOfTheAliasAuthority ? _oldAuthority : _authority).Issue(SpiffeId.ForServiceAccount(TrustDomain.Parse(trustDomain), "shop", serviceAccount));

    private TrustBundle Bundle(Roots roots)
    {
        var bundle = new TrustBundle();
        if (roots is not Roots.OfTheAlias)
        {
            bundle.Replace(TrustDomain.ClusterLocal, [_authority.Root]);
        }

        if (roots is not Roots.Ours)
        {
            bundle.Replace(Old, [_oldAuthority.Root]);
        }

        return bundle;
    }
}
