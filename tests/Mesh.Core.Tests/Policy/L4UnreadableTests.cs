using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>Entries that could not be understood fail in the safe direction: an ALLOW allows less, a DENY denies more.</summary>
public sealed class L4UnreadableTests
{
    public static TheoryData<MatchAttribute, string> MissingEntries => new()
    {
        { Namespaces, "bank" },
        { NotNamespaces, "shop" },
        { Principals, "bank.example/ns/bank/sa/teller" },
        { NotPrincipals, "*" },
        { SourceIps, "192.0.2.0/24" },
        { NotSourceIps, "10.0.0.0/8" },
        { DestinationIps, "192.0.2.0/24" },
        { NotDestinationIps, "10.0.0.0/8" },
        { DestinationPorts, "80" },
        { NotDestinationPorts, "8080" },
        { ServiceAccounts, "bank/teller" },
        { NotServiceAccounts, "shop/web" },
    };

    public static TheoryData<MatchAttribute> Attributes => [.. Enum.GetValues<MatchAttribute>()];

    [Theory]
    [MemberData(nameof(Attributes))]
    public void An_allow_match_with_an_unreadable_entry_never_matches(MatchAttribute attribute) => Assert.IsType<L4Decision.Denied>(
        L4PolicySet.Create(Allow("shop/p", When(Is(Namespaces, "shop"), Unreadable(attribute)))).Decide(From(Web)));

    [Theory]
    [MemberData(nameof(Attributes))]
    public void A_deny_match_with_nothing_but_an_unreadable_entry_matches_everything(MatchAttribute attribute) => Assert.IsType<L4Decision.Denied>(
        L4PolicySet.Create(Deny("shop/p", When(Unreadable(attribute)))).Decide(From(null)));

    [Theory]
    [MemberData(nameof(MissingEntries))]
    public void A_deny_match_counts_the_attribute_of_an_unreadable_entry_as_matched(MatchAttribute attribute, string entry) => Assert.IsType<L4Decision.Denied>(
        L4PolicySet.Create(Deny("shop/p", When(Is(attribute, entry), Unreadable(attribute)))).Decide(From(Web)));

    [Theory]
    [MemberData(nameof(MissingEntries))]
    public void A_deny_match_still_needs_its_other_attributes(MatchAttribute attribute, string entry)
    {
        var other = attribute is Namespaces ? ServiceAccounts : Namespaces;
        var policy = Deny("shop/p", When(Is(attribute, entry), Unreadable(other)));

        Assert.IsType<L4Decision.Allowed>(L4PolicySet.Create(policy).Decide(From(Web)));
    }

    [Fact]
    public void An_unreadable_match_of_an_allow_clause_leaves_the_other_matches_to_decide() => Assert.IsType<L4Decision.Allowed>(
        L4PolicySet.Create(Allow("shop/p", new AuthorizationRule(Either(Unreadable(SourceIps), Is(Namespaces, "shop"))))).Decide(From(Web)));
}
