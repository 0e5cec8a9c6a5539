using Mesh.Core.Identity;
using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>Trust domain aliases: a policy means a workload under each of its names.</summary>
public sealed class L4AliasTests
{
    private static readonly TrustDomain Old = TrustDomain.Parse("old.example");
    private static readonly TrustDomain Partner = TrustDomain.Parse("partner.example");
    private static readonly TrustDomainAliases Aliases = TrustDomainAliases.Create(Old, Partner);

    /// <summary>The entry of a policy, the client's trust domain, and whether the entry means it: with aliases, and without.</summary>
    public static TheoryData<string, string, bool, bool> Entries => new()
    {
        // Exact.
        { "cluster.local/ns/shop/sa/web", "cluster.local", true, true },
        { "cluster.local/ns/shop/sa/web", "old.example", true, false },
        { "old.example/ns/shop/sa/web", "cluster.local", true, false },
        { "old.example/ns/shop/sa/web", "partner.example", true, false },
        { "cluster.local/ns/shop/sa/cart", "old.example", false, false },
        { "old.example/ns/bank/sa/web", "cluster.local", false, false },
        { "cluster.local/ns/shop/sa/web", "stranger.example", false, false },
        { "stranger.example/ns/shop/sa/web", "cluster.local", false, false },
        { "stranger.example/ns/shop/sa/web", "stranger.example", true, true },

        // Prefix.
        { "cluster.local/ns/shop/*", "old.example", true, false },
        { "old.example/ns/shop/*", "cluster.local", true, false },
        { "old.example/*", "partner.example", true, false },
        { "old.*", "cluster.local", true, false },
        { "old.example/ns/bank/*", "cluster.local", false, false },
        { "old.example/*", "stranger.example", false, false },

        // Suffix: most say nothing of the trust domain.
        { "*/ns/shop/sa/web", "old.example", true, true },
        { "*/sa/web", "stranger.example", true, true },
        { "*ld.example/ns/shop/sa/web", "cluster.local", true, false },
        { "*/sa/cart", "old.example", false, false },

        // Presence.
        { "*", "old.example", true, true },
        { "*", "stranger.example", true, true },
    };

    [Theory]
    [MemberData(nameof(Entries))]
    public void Allow_by_principals(string entry, string trustDomain, bool means, bool meansWithoutAliases)
    {
        var policies = L4PolicySet.Create(Allow("shop/p", When(Is(Principals, entry))));
        Assert.Equal((means, meansWithoutAliases), (IsAllowed(policies, trustDomain, Aliases), IsAllowed(policies, trustDomain, TrustDomainAliases.None)));
    }

    [Theory]
    [MemberData(nameof(Entries))]
    public void Deny_by_principals(string entry, string trustDomain, bool means, bool meansWithoutAliases)
    {
        var policies = L4PolicySet.Create(Deny("shop/p", When(Is(Principals, entry))));
        Assert.Equal((!means, !meansWithoutAliases), (IsAllowed(policies, trustDomain, Aliases), IsAllowed(policies, trustDomain, TrustDomainAliases.None)));
    }

    [Theory]
    [MemberData(nameof(Entries))]
    public void Allow_all_but_principals(string entry, string trustDomain, bool means, bool meansWithoutAliases)
    {
        var policies = L4PolicySet.Create(Allow("shop/p", When(Is(NotPrincipals, entry))));
        Assert.Equal((!means, !meansWithoutAliases), (IsAllowed(policies, trustDomain, Aliases), IsAllowed(policies, trustDomain, TrustDomainAliases.None)));
    }

    [Theory]
    [MemberData(nameof(Entries))]
    public void Deny_all_but_principals(string entry, string trustDomain, bool means, bool meansWithoutAliases)
    {
        var policies = L4PolicySet.Create(Deny("shop/p", When(Is(NotPrincipals, entry))));
        Assert.Equal((means, meansWithoutAliases), (IsAllowed(policies, trustDomain, Aliases), IsAllowed(policies, trustDomain, TrustDomainAliases.None)));
    }

    [Theory]
    [InlineData("cluster.local/ns/shop/*", "old.example/ns/shop/sa/web", false)]
    [InlineData("old.example/ns/shop/*", "cluster.local/ns/shop/sa/web", false)]
    [InlineData("old.example/ns/shop/*", "cluster.local/ns/shop/sa/cart", true)]
    public void An_exception_counts_whichever_name_the_rule_goes_by(string principal, string exception, bool isAllowed)
    {
        var policies = L4PolicySet.Create(Allow("shop/p", When(Is(Principals, principal), Is(NotPrincipals, exception))));
        foreach (var trustDomain in new[] { "cluster.local", "old.example", "partner.example" })
        {
            Assert.Equal(isAllowed, IsAllowed(policies, trustDomain, Aliases));
        }
    }

    [Theory]
    [InlineData(Namespaces, "shop")]
    [InlineData(ServiceAccounts, "shop/web")]
    public void Namespaces_and_service_accounts_do_not_depend_on_the_trust_domain(MatchAttribute attribute, string entry)
    {
        var policies = L4PolicySet.Create(Allow("shop/p", When(Is(attribute, entry))));
        foreach (var trustDomain in new[] { "cluster.local", "old.example", "stranger.example" })
        {
            Assert.True(IsAllowed(policies, trustDomain, Aliases));
        }
    }

    [Fact]
    public void Of_several_policies_the_first_that_matches_is_named_whichever_name_it_goes_by()
    {
        var policies = L4PolicySet.Create(
            Deny("shop/a", When(Is(Principals, "old.example/ns/shop/sa/web"))), Deny("shop/b", When(Is(Principals, "cluster.local/ns/shop/sa/web"))));
        Assert.Equal("shop/a", Decide(policies, "cluster.local").Policy);
    }

    [Fact]
    public void A_client_without_identity_has_no_other_names()
    {
        var policies = L4PolicySet.Create(Deny("shop/p", When(Is(Principals, "*"))));
        Assert.IsType<L4Decision.Allowed>(policies.Decide(From(null).AlsoKnownAs(Aliases.OtherNamesOf(TrustDomain.ClusterLocal, null))));
    }

    [Fact]
    public void An_allow_says_under_which_name() => Assert.Equal(
        "allowed by policy shop/p, rule 1: principals old.example/ns/shop/sa/web; matched as old.example/ns/shop/sa/web, another name of cluster.local/ns/shop/sa/web",
        Decide(L4PolicySet.Create(Allow("shop/p", When(Is(Principals, "old.example/ns/shop/sa/web")))), "cluster.local").Reason);

    [Fact]
    public void An_allow_under_the_proven_name_says_nothing_of_others() => Assert.Equal(
        "allowed by policy shop/p, rule 1: principals cluster.local/ns/shop/sa/web",
        Decide(L4PolicySet.Create(Allow("shop/p", When(Is(Principals, "cluster.local/ns/shop/sa/web")))), "cluster.local").Reason);

    [Fact]
    public void A_denial_says_under_which_name() => Assert.Equal(
        "explicitly denied by: shop/p, rule 1: principals cluster.local/*; matched as cluster.local/ns/shop/sa/web, another name of old.example/ns/shop/sa/web",
        Decide(L4PolicySet.Create(Deny("shop/p", When(Is(Principals, "cluster.local/*")))), "old.example").Reason);

    [Fact]
    public void A_denial_for_want_of_an_allow_lists_all_names() => Assert.Equal(
        "allow policies exist, but none allowed; shop/p, rule 1: clause 1 needs notPrincipals partner.example/*; the connection has "
        + "old.example/ns/shop/sa/web, also cluster.local/ns/shop/sa/web, also partner.example/ns/shop/sa/web",
        Decide(L4PolicySet.Create(Allow("shop/p", When(Is(NotPrincipals, "partner.example/*")))), "old.example").Reason);

    [Fact]
    public void Connections_with_other_names_are_not_the_same()
    {
        var old = SpiffeId.Parse("spiffe://old.example/ns/shop/sa/web");
        Assert.Equal(From(Web).AlsoKnownAs(old), From(Web).AlsoKnownAs(SpiffeId.Parse(old.ToString())));
        Assert.NotEqual(From(Web), From(Web).AlsoKnownAs(old));
        Assert.Empty(default(L4Connection).SourceAliases);
    }

    private static bool IsAllowed(L4PolicySet policies, string trustDomain, TrustDomainAliases aliases) => Decide(policies, trustDomain, aliases) is L4Decision.Allowed;

    private static L4Decision Decide(L4PolicySet policies, string trustDomain, TrustDomainAliases? aliases = null)
    {
        var identity = SpiffeId.ForServiceAccount(TrustDomain.Parse(trustDomain), "shop", "web");
        return policies.Decide(From(identity).AlsoKnownAs((aliases ?? Aliases).OtherNamesOf(TrustDomain.ClusterLocal, identity)));
    }
}
