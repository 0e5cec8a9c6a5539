using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>Dry-run policies are reported and never enforced (ztunnel §9.2, steps 1 and 3).</summary>
public sealed class L4DryRunTests
{
    private const string NoneWouldAllow = "dry-run ALLOW policies exist, but none would allow; enforced, they would deny";
    private static readonly AuthorizationRule FromShop = When(Is(Namespaces, "shop"));
    private static readonly AuthorizationRule FromBank = When(Is(Namespaces, "bank"));

    [Fact]
    public void A_dry_run_deny_does_not_deny() => Assert.IsType<L4Decision.Allowed>(Decide(Deny("shop/p", FromShop).DryRun()));

    [Fact]
    public void A_dry_run_deny_that_matches_is_reported() =>
        Assert.Equal(["dry-run policy shop/p, rule 1 would deny: namespaces shop"], Notes(Deny("shop/p", FromShop).DryRun()));

    [Fact]
    public void A_dry_run_deny_that_does_not_match_is_not_reported() => Assert.Empty(Notes(Deny("shop/p", FromBank).DryRun()));

    [Fact]
    public void A_dry_run_allow_does_not_deny_what_it_does_not_match() => Assert.IsType<L4Decision.Allowed>(Decide(Allow("shop/p", FromBank).DryRun()));

    [Fact]
    public void A_dry_run_allow_that_would_deny_is_reported() => Assert.Equal([NoneWouldAllow], Notes(Allow("shop/p", FromBank).DryRun()));

    [Fact]
    public void A_dry_run_allow_that_matches_is_reported() =>
        Assert.Equal(["dry-run policy shop/p, rule 2 would allow"], Notes(Allow("shop/p", FromBank, FromShop).DryRun()));

    [Fact]
    public void A_dry_run_allow_does_not_allow_what_enforced_ones_do_not() =>
        Assert.IsType<L4Decision.Denied>(Decide(Allow("shop/a", FromBank), Allow("shop/p", FromShop).DryRun()));

    [Fact]
    public void A_dry_run_allow_that_would_allow_is_reported_with_the_denial() => Assert.Equal(
        ["dry-run policy shop/p, rule 1 would allow"], Notes(Allow("shop/a", FromBank), Allow("shop/p", FromShop).DryRun()));

    [Fact]
    public void Beside_enforced_allow_policies_a_dry_run_allow_that_does_not_match_is_not_reported() =>
        Assert.Empty(Notes(Allow("shop/a", FromShop), Allow("shop/p", FromBank).DryRun()));

    [Fact]
    public void A_dry_run_deny_is_reported_with_an_enforced_denial() => Assert.Equal(
        ["dry-run policy shop/p, rule 1 would deny: namespaces shop"], Notes(Deny("shop/a", FromShop), Deny("shop/p", FromShop).DryRun()));

    [Fact]
    public void Dry_run_policies_of_both_actions_are_reported_together() => Assert.Equal(
        ["dry-run policy shop/d, rule 1 would deny: namespaces shop", "dry-run policy shop/a, rule 1 would allow"],
        Notes(Allow("shop/a", FromShop).DryRun(), Deny("shop/d", FromShop).DryRun()));

    [Fact]
    public void What_dry_run_policies_report_leaves_reason_and_policy_of_an_allow_as_they_are()
    {
        var decision = Decide(Allow("shop/a", FromShop), Deny("shop/d", FromShop).DryRun());

        Assert.Equal(("shop/a", 1, "allowed by policy shop/a, rule 1: namespaces shop"), (decision.Policy, decision.Rule, decision.Reason));
    }

    [Fact]
    public void A_dry_run_selector_policy_that_is_listed_is_reported() => Assert.Single(
        L4PolicySet.Create(Deny("shop/p", FromShop).DryRun().ForSelector()).Decide(From(Web), "shop/p").DryRun);

    private static string[] Notes(params L4Authorization[] policies) => [.. Decide(policies).DryRun];

    private static L4Decision Decide(params L4Authorization[] policies) => L4PolicySet.Create(policies).Decide(From(Web));
}
