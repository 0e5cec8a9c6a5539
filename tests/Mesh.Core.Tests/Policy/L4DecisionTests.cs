using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>The words of a decision: an operator has nothing else to go by.</summary>
public sealed class L4DecisionTests
{
    private static readonly AuthorizationRule FromShop = When(Is(Namespaces, "shop"));

    [Fact]
    public void An_allow_names_policy_rule_and_conditions()
    {
        var decision = Decide(From(Web), Allow("shop/a", When(Is(Namespaces, "bank")), When(Is(Namespaces, "shop"), Is(DestinationPorts, "80", "8080"))));

        Assert.Equal(("shop/a", 2, "allowed by policy shop/a, rule 2: namespaces shop, destinationPorts 80 or 8080"), (decision.Policy, decision.Rule, decision.Reason));
    }

    [Fact]
    public void An_allow_for_want_of_policies_names_none()
    {
        var decision = Decide(From(Web), Deny("shop/d", When(Is(Namespaces, "bank"))));

        Assert.Equal((null, null, "allowed: no policy denies it, and no ALLOW policy applies"), (decision.Policy, decision.Rule, decision.Reason));
    }

    [Fact]
    public void A_denial_names_policy_rule_and_the_matches_that_held()
    {
        var rule = new AuthorizationRule(Either(Is(Namespaces, "bank"), Is(Namespaces, "sh*")), Either(Is(DestinationPorts, "8080")));
        var decision = Decide(From(Web), Deny("shop/d", rule));

        Assert.Equal(("shop/d", 1, "explicitly denied by: shop/d, rule 1: namespaces sh* and destinationPorts 8080"), (decision.Policy, decision.Rule, decision.Reason));
    }

    [Fact]
    public void A_denial_by_a_rule_without_clauses_says_so() =>
        Assert.Equal("explicitly denied by: shop/d, rule 1: matches every connection", Decide(From(Web), Deny("shop/d", new AuthorizationRule())).Reason);

    [Fact]
    public void The_remedy_of_an_explicit_denial_is_that_its_rule_does_not_match() => Assert.Equal(
        ["shop/d, rule 1 must not match: it does for spiffe://cluster.local/ns/shop/sa/web from 10.1.2.3 to 10.0.0.9:8080"],
        Remedies(From(Web), Deny("shop/d", FromShop)));

    [Fact]
    public void A_denial_for_want_of_an_allow_names_no_policy()
    {
        var decision = Decide(From(Teller), Allow("shop/a", FromShop));

        Assert.Equal(
            (null, null, "allow policies exist, but none allowed; shop/a, rule 1: clause 1 needs namespaces shop; the connection has 'bank'"),
            (decision.Policy, decision.Rule, decision.Reason));
    }

    [Theory]
    [InlineData(Namespaces, "mail", "needs namespaces mail; the connection has 'shop'")]
    [InlineData(NotNamespaces, "shop", "needs notNamespaces shop; the connection has 'shop'")]
    [InlineData(Principals, "*/teller", "needs principals */teller; the connection has cluster.local/ns/shop/sa/web")]
    [InlineData(NotPrincipals, "*", "needs notPrincipals *; the connection has cluster.local/ns/shop/sa/web")]
    [InlineData(SourceIps, "192.0.2.0/24", "needs sourceIps 192.0.2.0/24; the connection has 10.1.2.3")]
    [InlineData(NotSourceIps, "10.0.0.0/8", "needs notSourceIps 10.0.0.0/8; the connection has 10.1.2.3")]
    [InlineData(DestinationIps, "192.0.2.0/24", "needs destinationIps 192.0.2.0/24; the connection has 10.0.0.9")]
    [InlineData(NotDestinationIps, "10.0.0.0/8", "needs notDestinationIps 10.0.0.0/8; the connection has 10.0.0.9")]
    [InlineData(DestinationPorts, "80", "needs destinationPorts 80; the connection has 8080")]
    [InlineData(NotDestinationPorts, "8080", "needs notDestinationPorts 8080; the connection has 8080")]
    [InlineData(ServiceAccounts, "bank/teller", "needs serviceAccounts bank/teller; the connection has cluster.local/ns/shop/sa/web")]
    [InlineData(NotServiceAccounts, "shop/web", "needs notServiceAccounts shop/web; the connection has cluster.local/ns/shop/sa/web")]
    public void A_remedy_names_the_condition_and_what_the_connection_has(MatchAttribute attribute, string entry, string remedy) =>
        Assert.Equal([$"shop/a, rule 1: clause 1 {remedy}"], Remedies(From(Web), Allow("shop/a", When(Is(attribute, entry)))));

    [Theory]
    [InlineData(Namespaces, "shop", "needs namespaces shop; the connection has none")]
    [InlineData(Principals, "*", "needs principals *; the connection has no identity")]
    [InlineData(ServiceAccounts, "shop/web", "needs serviceAccounts shop/web; the connection has no identity")]
    public void A_remedy_says_that_a_connection_has_no_identity(MatchAttribute attribute, string entry, string remedy) =>
        Assert.Equal([$"shop/a, rule 1: clause 1 {remedy}"], Remedies(From(null), Allow("shop/a", When(Is(attribute, entry)))));

    [Fact]
    public void Each_rule_of_each_allow_policy_has_a_remedy_in_the_order_of_scope_and_name() => Assert.Equal(
        [
            "istio-system/g, rule 1: clause 1 needs namespaces mail; the connection has 'shop'",
            "shop/a, rule 1: clause 1 needs destinationPorts 80; the connection has 8080",
            "shop/a, rule 2: clause 1 needs destinationPorts 81; the connection has 8080",
            "shop/b has no rules, so it allows nothing",
        ],
        Remedies(
            From(Web),
            Allow("shop/b"),
            Allow("shop/a", When(Is(DestinationPorts, "80")), When(Is(DestinationPorts, "81"))),
            Allow("istio-system/g", When(Is(Namespaces, "mail"))).Global(),
            Deny("shop/d", When(Is(Namespaces, "mail"))),
            Allow("shop/dry", FromShop).DryRun()));

    [Fact]
    public void A_remedy_names_the_first_clause_that_failed_and_every_match_of_it() => Assert.Equal(
        ["shop/a, rule 1: clause 2 needs destinationPorts 80; the connection has 8080; or needs principals *x; the connection has cluster.local/ns/shop/sa/web"],
        Remedies(From(Web), Allow("shop/a", new AuthorizationRule(Either(Is(Namespaces, "shop")), Either(Is(DestinationPorts, "80"), Is(Principals, "*x"))))));

    [Fact]
    public void A_remedy_says_that_an_empty_match_never_matches() => Assert.Equal(
        ["shop/a, rule 1: clause 1 never matches: (an empty match, which never matches)"],
        Remedies(From(Web), Allow("shop/a", When(new AuthorizationMatch()))));

    [Fact]
    public void A_remedy_says_which_entry_could_not_be_understood() => Assert.Equal(
        ["shop/a, rule 1: clause 1 never matches: namespaces shop, an entry of SourceIps that could not be understood (address of 3 bytes)"],
        Remedies(From(Web), Allow("shop/a", When(Is(Namespaces, "shop"), Unreadable(SourceIps)))));

    [Fact]
    public void A_long_list_is_cut_in_the_words_of_a_decision()
    {
        var ports = Enumerable.Range(1, 1000).Select(port => port.ToString());
        Assert.Equal(
            "shop/a, rule 1: clause 1 needs destinationPorts 1 or 2 or 3 or 4 or 5 or 6 or 7 or 8 or 992 more; the connection has 8080",
            Assert.Single(Remedies(From(Web), Allow("shop/a", When(Is(DestinationPorts, ports))))));
    }

    [Fact]
    public void More_rules_than_a_person_reads_are_cut()
    {
        var rules = Enumerable.Range(1, 100).Select(port => When(Is(DestinationPorts, port.ToString())));
        var remedies = Remedies(From(Web), Allow("shop/a", [.. rules]));

        Assert.Equal((17, "further policies are not listed"), (remedies.Length, remedies[^1]));
    }

    [Fact]
    public void As_many_rules_as_a_person_reads_are_not_followed_by_a_remark_on_others()
    {
        var rules = Enumerable.Range(1, 16).Select(port => When(Is(DestinationPorts, port.ToString())));
        Assert.Equal(16, Remedies(From(Web), Allow("shop/a", [.. rules])).Length);
    }

    [Fact]
    public void More_policies_without_rules_than_a_person_reads_are_cut() =>
        Assert.Equal(17, Remedies(From(Web), [.. Enumerable.Range(1, 100).Select(number => Allow($"shop/a{number}"))]).Length);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Of_several_policies_that_match_the_first_by_name_is_named_whatever_order_they_came_in(bool reversed)
    {
        L4Authorization[] policies = [Allow("shop/a", FromShop), Allow("shop/b", FromShop)];
        Assert.Equal("shop/a", L4PolicySet.Create(reversed ? policies.Reverse() : policies).Decide(From(Web)).Policy);
    }

    [Fact]
    public void Of_several_rules_that_match_the_first_is_named() =>
        Assert.Equal(1, Decide(From(Web), Allow("shop/a", When(Is(DestinationPorts, "8080")), FromShop)).Rule);

    [Fact]
    public void A_decision_shows_its_reason() => Assert.Equal("explicitly denied by: shop/d, rule 1: namespaces shop", Decide(From(Web), Deny("shop/d", FromShop)).ToString());

    private static L4Decision Decide(L4Connection connection, params L4Authorization[] policies) => L4PolicySet.Create(policies).Decide(connection);

    private static string[] Remedies(L4Connection connection, params L4Authorization[] policies) =>
        [.. Assert.IsType<L4Decision.Denied>(Decide(connection, policies)).Remedies];
}
