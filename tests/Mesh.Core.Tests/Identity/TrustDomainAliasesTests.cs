namespace Mesh.Core.Identity;

public sealed class TrustDomainAliasesTests
{
    private static readonly TrustDomain Own = TrustDomain.ClusterLocal;
    private static readonly TrustDomainAliases Aliases = TrustDomainAliases.Create(TrustDomain.Parse("old.example"), TrustDomain.Parse("partner.example"));

    [Theory]
    [InlineData(null, "")]
    [InlineData("", "")]
    [InlineData(" , ", "")]
    [InlineData("old.example", "old.example")]
    [InlineData(" old.example ,partner.example,", "old.example, partner.example")]
    [InlineData("old.example,old.example", "old.example")]
    public void Names_are_separated_by_commas(string? text, string names)
    {
        Assert.True(TrustDomainAliases.TryParse(text, out var aliases, out _));
        Assert.Equal(names, aliases.ToString());
    }

    [Theory]
    [InlineData("old.example,Partner.example", "trust domain 'Partner.example' contains 'P'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("*", "trust domain '*' contains '*'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("spiffe://old.example", "trust domain 'spiffe://old.example' contains ':'; allowed are a-z, 0-9, '.', '-', '_'")]
    public void A_wrong_name_is_told(string text, string error)
    {
        Assert.False(TrustDomainAliases.TryParse(text, out _, out var told));
        Assert.Equal(error, told);
    }

    [Fact]
    public void No_names_are_one_object()
    {
        Assert.Same(TrustDomainAliases.None, TrustDomainAliases.Create());
        Assert.True(TrustDomainAliases.TryParse("", out var aliases, out _));
        Assert.Same(TrustDomainAliases.None, aliases);
    }

    [Theory]
    [InlineData("cluster.local/ns/shop/sa/web", "cluster.local/ns/shop/sa/web", true, true)]
    [InlineData("cluster.local/ns/shop/sa/web", "old.example/ns/shop/sa/web", true, false)]
    [InlineData("partner.example/ns/shop/sa/web", "old.example/ns/shop/sa/web", true, false)]
    [InlineData("cluster.local/ns/shop/sa/web", "old.example/ns/shop/sa/cart", false, false)]
    [InlineData("cluster.local/ns/shop/sa/web", "stranger.example/ns/shop/sa/web", false, false)]
    [InlineData("stranger.example/ns/shop/sa/web", "stranger.example/ns/shop/sa/web", true, true)]
    [InlineData("stranger.example/ns/shop/sa/web", "other.example/ns/shop/sa/web", false, false)]
    [InlineData("cluster.local/vm", "old.example/vm", true, false)]
    [InlineData("cluster.local", "old.example", true, false)]
    public void Identities_are_the_same_by_path_in_trust_domains_that_are_ours(string left, string right, bool withAliases, bool without)
    {
        var (one, other) = (SpiffeId.Parse($"spiffe://{left}"), SpiffeId.Parse($"spiffe://{right}"));
        Assert.Equal((withAliases, withAliases), (Aliases.AreSame(Own, one, other), Aliases.AreSame(Own, other, one)));
        Assert.Equal((without, without), (TrustDomainAliases.None.AreSame(Own, one, other), TrustDomainAliases.None.AreSame(Own, other, one)));
    }

    [Fact]
    public void No_identity_is_the_same_as_none_only()
    {
        var web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
        Assert.False(Aliases.AreSame(Own, web, null));
        Assert.False(Aliases.AreSame(Own, null, web));
        Assert.True(Aliases.AreSame(Own, (SpiffeId?)null, null));
    }

    [Theory]
    [InlineData("cluster.local", "old.example partner.example")]
    [InlineData("old.example", "cluster.local partner.example")]
    [InlineData("stranger.example", "")]
    public void The_other_names_of_an_identity(string trustDomain, string others) => Assert.Equal(
        others,
        string.Join(' ', Aliases.OtherNamesOf(Own, SpiffeId.Parse($"spiffe://{trustDomain}/ns/shop/sa/web")).Select(name =>
        {
            Assert.Equal(SpiffeId.Parse(name.ToString()), name);
            Assert.Equal(("/ns/shop/sa/web", "shop", "web"), (name.Path, name.Namespace, name.ServiceAccount));
            return name.TrustDomain.Name;
        })));

    [Fact]
    public void Our_own_name_among_the_aliases_does_no_harm()
    {
        var aliases = TrustDomainAliases.Create(TrustDomain.Parse("old.example"), Own);
        Assert.Equal("spiffe://old.example/a", Assert.Single(aliases.OtherNamesOf(Own, SpiffeId.Parse("spiffe://cluster.local/a"))).ToString());
    }

    [Fact]
    public void The_longest_identity_has_other_names_too()
    {
        var longest = SpiffeId.Parse("spiffe://a/" + new string('x', SpiffeId.MaxLength - "spiffe://a/".Length));
        var aliases = TrustDomainAliases.Create(TrustDomain.Parse("old.example"));
        Assert.Equal(longest.Path, Assert.Single(aliases.OtherNamesOf(longest.TrustDomain, longest)).Path);
    }
}
