using System.Collections.Immutable;
using Mesh.Core.Workloads;

namespace Mesh.Core.Policy;

/// <summary>Decides whether L4 policy lets a connection through (ztunnel §9). Pure: the same arguments give the same decision.</summary>
/// <remarks>
/// The order: a matching DENY policy denies; without any ALLOW policy the connection is allowed; a matching ALLOW policy allows;
/// otherwise it is denied. Dry-run policies only add to <see cref="L4Decision.DryRun"/>. A plain allow allocates nothing.
/// </remarks>
public static class L4Authorizer
{
    // What a denial lists at most: enough to see the nearest miss, not a dump of the mesh.
    private const int MaxRemedies = 16;

    private static readonly L4Decision.Allowed NoAllowPolicy = new(null, null, "allowed: no policy denies it, and no ALLOW policy applies");

    /// <summary>Decides on a connection to a workload.</summary>
    public static L4Decision Authorize(L4PolicySet policies, Workload destination, in L4Connection connection)
    {
        ArgumentNullException.ThrowIfNull(destination);
        return Authorize(policies, destination.Namespace, destination.AuthorizationPolicies, connection);
    }

    /// <summary>Decides on a connection to a workload of a namespace that lists some policies by key. Keys of unknown policies are passed over.</summary>
    public static L4Decision Authorize(L4PolicySet policies, string destinationNamespace, ImmutableArray<string> listedPolicies, in L4Connection connection)
    {
        ArgumentNullException.ThrowIfNull(policies);
        var applicable = new Applicable(policies, destinationNamespace, listedPolicies);
        var dryRun = applicable.Any(static compiled => compiled.HasDryRun) ? DryRun(applicable, connection) : [];
        if (applicable.FirstMatch(static compiled => compiled.Deny, connection) is { } denying)
        {
            return denying.Denied(connection, dryRun);
        }

        if (!applicable.Any(static compiled => compiled.HasAllow))
        {
            return NoAllowPolicy.With(dryRun);
        }

        return applicable.FirstMatch(static compiled => compiled.Allow, connection) is { } allowing
            ? allowing.AllowedFor(connection).With(dryRun)
            : NoneAllowed(applicable, connection, dryRun);
    }

    private static ImmutableArray<string> DryRun(in Applicable applicable, in L4Connection connection)
    {
        var notes = ImmutableArray.CreateBuilder<string>();
        if (applicable.FirstMatch(static compiled => compiled.DryRunDeny, connection) is { } denying)
        {
            notes.Add($"dry-run policy {denying.Policy.Key}, rule {denying.Number} would deny: {PolicyText.Rule(denying.Policy.Rules[denying.Number - 1])}");
        }

        if (applicable.FirstMatch(static compiled => compiled.DryRunAllow, connection) is { } allowing)
        {
            notes.Add($"dry-run policy {allowing.Policy.Key}, rule {allowing.Number} would allow");
        }
        else if (applicable.Any(static compiled => compiled.HasDryRunAllow) && !applicable.Any(static compiled => compiled.HasAllow))
        {
            notes.Add("dry-run ALLOW policies exist, but none would allow; enforced, they would deny");
        }

        return notes.ToImmutable();
    }

    private static L4Decision.Denied NoneAllowed(in Applicable applicable, in L4Connection connection, ImmutableArray<string> dryRun)
    {
        var remedies = ImmutableArray.CreateBuilder<string>();
        foreach (var remedy in Remedies(applicable, connection))
        {
            if (remedies.Count == MaxRemedies)
            {
                remedies.Add("further policies are not listed");
                break;
            }

            remedies.Add(remedy);
        }

        return new L4Decision.Denied(null, null, $"allow policies exist, but none allowed; {remedies[0]}", remedies.ToImmutable(), dryRun);
    }

    private static IEnumerable<string> Remedies(Applicable applicable, L4Connection connection)
    {
        var allowing = applicable.Sets().SelectMany(compiled => compiled.Policies).Where(policy => policy is { Action: AuthorizationAction.Allow, DryRun: false });
        foreach (var policy in allowing)
        {
            if (policy.Rules.IsEmpty)
            {
                yield return $"{policy.Key} has no rules, so it allows nothing";
            }

            for (var number = 1; number <= policy.Rules.Length; number++)
            {
                yield return $"{policy.Key}, rule {number}: {FirstMiss(policy.Rules[number - 1], connection)}";
            }
        }
    }

    private static string FirstMiss(AuthorizationRule rule, in L4Connection connection)
    {
        for (var number = 1; number <= rule.Clauses.Length; number++)
        {
            var clause = rule.Clauses[number - 1];
            var reasons = new List<string>();
            var matched = clause.Matches.IsEmpty;
            foreach (var match in clause.Matches)
            {
                if (CompiledMatch.Compile(match, AuthorizationAction.Allow) is not { } compiled)
                {
                    reasons.Add($"never matches: {PolicyText.Match(match)}");
                }
                else if (compiled.FirstMiss(connection) is { } attribute)
                {
                    reasons.Add(PolicyText.Miss(match, attribute, connection));
                }
                else
                {
                    matched = true;
                    break;
                }
            }

            if (!matched)
            {
                return $"clause {number} {string.Join("; or ", reasons.Distinct())}";
            }
        }

        return "matches";
    }

    /// <summary>The compiled sets that apply to one destination: global, its namespace's, and those it lists.</summary>
    private readonly struct Applicable(L4PolicySet policies, string ns, ImmutableArray<string> listed)
    {
        private readonly CompiledPolicies _namespace = policies.OfNamespace(ns);

        public bool Any(Func<CompiledPolicies, bool> predicate)
        {
            if (predicate(policies.Global) || predicate(_namespace))
            {
                return true;
            }

            foreach (var key in listed)
            {
                if (policies.Listed(key) is { } compiled && predicate(compiled))
                {
                    return true;
                }
            }

            return false;
        }

        public CompiledRule? FirstMatch(Func<CompiledPolicies, RuleIndex> index, in L4Connection connection)
        {
            if (index(policies.Global).FirstMatch(connection) is { } global)
            {
                return global;
            }

            if (index(_namespace).FirstMatch(connection) is { } spaced)
            {
                return spaced;
            }

            foreach (var key in listed)
            {
                if (policies.Listed(key) is { } compiled && index(compiled).FirstMatch(connection) is { } rule)
                {
                    return rule;
                }
            }

            return null;
        }

        public IEnumerable<CompiledPolicies> Sets()
        {
            var set = policies;
            return [set.Global, _namespace, .. listed.Select(set.Listed).OfType<CompiledPolicies>()];
        }
    }
}
