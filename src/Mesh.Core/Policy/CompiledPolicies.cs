using System.Collections.Immutable;

namespace Mesh.Core.Policy;

/// <summary>Policies that apply together (those of one namespace, the global ones, or a single one that a workload lists), compiled once.</summary>
internal sealed class CompiledPolicies
{
    public static readonly CompiledPolicies None = new([]);

    public CompiledPolicies(IEnumerable<L4Authorization> policies)
    {
        // A fixed order, whatever order they came in: of several that match, always the same one is named.
        Policies = [.. policies.OrderBy(policy => policy.Key, StringComparer.Ordinal)];
        Deny = Index(AuthorizationAction.Deny, dryRun: false);
        Allow = Index(AuthorizationAction.Allow, dryRun: false);
        DryRunDeny = Index(AuthorizationAction.Deny, dryRun: true);
        DryRunAllow = Index(AuthorizationAction.Allow, dryRun: true);
        HasAllow = Policies.Any(policy => policy is { Action: AuthorizationAction.Allow, DryRun: false });
        HasDryRunAllow = Policies.Any(policy => policy is { Action: AuthorizationAction.Allow, DryRun: true });
        HasDryRun = Policies.Any(policy => policy.DryRun);
    }

    public ImmutableArray<L4Authorization> Policies { get; }

    public RuleIndex Deny { get; }

    public RuleIndex Allow { get; }

    public RuleIndex DryRunDeny { get; }

    public RuleIndex DryRunAllow { get; }

    public bool HasAllow { get; }

    public bool HasDryRunAllow { get; }

    public bool HasDryRun { get; }

    private RuleIndex Index(AuthorizationAction action, bool dryRun)
    {
        var rules = new List<CompiledRule>();
        var order = 0;
        foreach (var policy in Policies.Where(policy => policy.Action == action && policy.DryRun == dryRun))
        {
            for (var number = 1; number <= policy.Rules.Length; number++)
            {
                if (CompiledRule.Compile(policy, number, order++) is { } rule)
                {
                    rules.Add(rule);
                }
            }
        }

        return rules.Count == 0 ? RuleIndex.Empty : new RuleIndex(rules);
    }
}
