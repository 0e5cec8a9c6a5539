using Mesh.Core.Workloads;
using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>ztunnel §9.1 and §9.2: which policies are asked, in which order, and what empty shapes mean.</summary>
public sealed class L4AuthorizerTests
{
    private static readonly AuthorizationMatch FromShop = Is(Namespaces, "shop");
    private static readonly AuthorizationMatch FromBank = Is(Namespaces, "bank");
    private static readonly AuthorizationMatch ToWebPort = Is(DestinationPorts, "8080");
    private static readonly AuthorizationMatch ToAdminPort = Is(DestinationPorts, "9090");
    private static readonly AuthorizationRule Everything = new();
    private static readonly AuthorizationMatch Empty = new();

    [Fact]
    public void Without_policies_everything_is_allowed() => Allows(From(null));

    [Fact]
    public void Without_allow_policies_what_no_policy_denies_is_allowed() => Allows(From(null), Deny("shop/p", When(FromShop)));

    [Fact]
    public void With_an_allow_policy_what_it_does_not_match_is_denied() => Denies(From(Teller), Allow("shop/p", When(FromShop)));

    [Fact]
    public void An_allow_policy_without_rules_denies_everything() => Denies(From(Web), Allow("shop/p"));

    [Fact]
    public void A_deny_policy_without_rules_does_nothing() => Allows(From(Web), Deny("shop/p"));

    [Fact]
    public void A_rule_without_clauses_matches_everything_in_allow() => Allows(From(null), Allow("shop/p", Everything));

    [Fact]
    public void A_rule_without_clauses_matches_everything_in_deny() => Denies(From(null), Deny("shop/p", Everything));

    [Fact]
    public void A_clause_without_matches_matches_everything_in_allow() => Allows(From(null), Allow("shop/p", new AuthorizationRule(Either())));

    [Fact]
    public void A_clause_without_matches_matches_everything_in_deny() => Denies(From(null), Deny("shop/p", new AuthorizationRule(Either())));

    [Fact]
    public void An_empty_match_never_matches_in_allow() => Denies(From(Web), Allow("shop/p", When(Empty)));

    [Fact]
    public void An_empty_match_never_matches_in_deny() => Allows(From(Web), Deny("shop/p", When(Empty)));

    [Fact]
    public void An_empty_match_beside_another_one_leaves_the_other_to_decide() =>
        Allows(From(Web), Allow("shop/p", new AuthorizationRule(Either(Empty, FromShop))));

    [Fact]
    public void A_clause_without_matches_beside_another_one_leaves_the_other_to_decide() =>
        Denies(From(Teller), Allow("shop/p", new AuthorizationRule(Either(), Either(FromShop))));

    [Theory]
    [InlineData("shop", 8080, true)]
    [InlineData("shop", 9090, true)]
    [InlineData("shop", 70, false)]
    [InlineData("bank", 8080, true)]
    [InlineData("mail", 8080, false)]
    public void A_rule_needs_each_clause_and_a_clause_needs_any_match(string ns, int port, bool allowed)
    {
        var policy = Allow("shop/p", new AuthorizationRule(Either(FromShop, FromBank), Either(ToWebPort, ToAdminPort)));
        var source = Identity.SpiffeId.Parse($"spiffe://cluster.local/ns/{ns}/sa/any");

        Assert.Equal(allowed, L4PolicySet.Create(policy).Decide(From(source, port: port)) is L4Decision.Allowed);
    }

    [Theory]
    [InlineData("shop", 8080, 1)]
    [InlineData("bank", 9090, 2)]
    [InlineData("shop", 9090, null)]
    public void Any_rule_of_a_policy_suffices(string ns, int port, int? rule)
    {
        var policy = Allow("shop/p", When(FromShop, ToWebPort), When(FromBank, ToAdminPort));
        var source = Identity.SpiffeId.Parse($"spiffe://cluster.local/ns/{ns}/sa/any");

        Assert.Equal(rule, L4PolicySet.Create(policy).Decide(From(source, port: port)).Rule);
    }

    [Fact]
    public void Any_allow_policy_suffices() => Allows(From(Teller), Allow("shop/a", When(FromShop)), Allow("shop/b", When(FromBank)));

    [Fact]
    public void A_deny_policy_goes_before_an_allow_policy() => Denies(From(Web), Allow("shop/a", When(FromShop)), Deny("shop/b", When(ToWebPort)));

    [Fact]
    public void A_deny_policy_that_does_not_match_leaves_the_allow_policy_to_decide() =>
        Allows(From(Web), Allow("shop/a", When(FromShop)), Deny("shop/b", When(ToAdminPort)));

    [Fact]
    public void A_deny_policy_of_a_narrow_scope_goes_before_a_global_allow_policy() =>
        Denies(From(Web), Allow("istio-system/a", When(FromShop)).Global(), Deny("shop/b", When(FromShop)));

    [Fact]
    public void A_global_policy_applies_in_every_namespace() => Denies(From(Web), Deny("istio-system/p", Everything).Global());

    [Fact]
    public void A_namespace_policy_applies_in_its_namespace() => Denies(From(Web), Deny("shop/p", Everything));

    [Fact]
    public void A_namespace_policy_of_another_namespace_does_not_apply() => Allows(From(Web), Deny("bank/p", Everything));

    [Fact]
    public void A_selector_policy_applies_to_a_workload_that_lists_it() =>
        Assert.IsType<L4Decision.Denied>(L4PolicySet.Create(Deny("shop/p", Everything).ForSelector()).Decide(From(Web), "shop/p"));

    [Fact]
    public void A_selector_policy_does_not_apply_to_a_workload_that_does_not_list_it() => Allows(From(Web), Deny("shop/p", Everything).ForSelector());

    [Fact]
    public void A_selector_policy_of_another_namespace_applies_to_a_workload_that_lists_it() =>
        Assert.IsType<L4Decision.Denied>(L4PolicySet.Create(Deny("istio-system/p", Everything).ForSelector()).Decide(From(Web), "istio-system/p"));

    [Fact]
    public void A_listed_policy_that_is_unknown_is_passed_over() =>
        Assert.IsType<L4Decision.Denied>(L4PolicySet.Create(Deny("shop/p", Everything).ForSelector()).Decide(From(Web), "shop/gone", "shop/p"));

    [Fact]
    public void A_listed_policy_that_is_unknown_allows_and_denies_nothing() => Assert.IsType<L4Decision.Allowed>(L4PolicySet.Empty.Decide(From(Web), "shop/gone"));

    [Fact]
    public void A_workload_is_judged_by_its_namespace_and_the_policies_that_it_lists()
    {
        var workload = new Workload { Uid = "1", Namespace = "bank", AuthorizationPolicies = ["bank/listed"] };
        var policies = L4PolicySet.Create(Allow("bank/all", Everything), Deny("bank/listed", Everything).ForSelector());

        Assert.Equal("bank/listed", Assert.IsType<L4Decision.Denied>(L4Authorizer.Authorize(policies, workload, From(Web))).Policy);
    }

    [Fact]
    public void Strict_peer_authentication_denies_plain_text() => Denies(From(null), Deny("shop/strict", When(Is(NotPrincipals, "*"))));

    [Fact]
    public void Strict_peer_authentication_allows_any_identity() => Allows(From(Teller), Deny("shop/strict", When(Is(NotPrincipals, "*"))));

    [Theory]
    [InlineData(8080, false)]
    [InlineData(9090, true)]
    public void Strict_peer_authentication_of_a_port_leaves_the_others_alone(int port, bool allowed) => Assert.Equal(
        allowed,
        L4PolicySet.Create(Deny("shop/strict", When(Is(NotPrincipals, "*"), Is(NotDestinationPorts, "9090")))).Decide(From(null, port: port)) is L4Decision.Allowed);

    private static void Allows(L4Connection connection, params L4Authorization[] policies) =>
        Assert.IsType<L4Decision.Allowed>(L4PolicySet.Create(policies).Decide(connection));

    private static void Denies(L4Connection connection, params L4Authorization[] policies) =>
        Assert.IsType<L4Decision.Denied>(L4PolicySet.Create(policies).Decide(connection));
}
