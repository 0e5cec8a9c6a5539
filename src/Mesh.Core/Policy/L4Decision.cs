using System.Collections.Immutable;

namespace Mesh.Core.Policy;

/// <summary>What L4 policy says of a connection, and why. Either <see cref="Allowed"/> or <see cref="Denied"/>.</summary>
public abstract class L4Decision
{
    private protected L4Decision(string? policy, int? rule, string reason)
    {
        Policy = policy;
        Rule = rule;
        Reason = reason;
    }

    /// <summary>The policy that decided, <c>namespace/name</c>; null when the decision is that of no single one.</summary>
    public string? Policy { get; }

    /// <summary>The rule that decided, counted from 1; null when no rule matched.</summary>
    public int? Rule { get; }

    /// <summary>Policy, rule and clause that decided, in words.</summary>
    public string Reason { get; }

    /// <summary>What dry-run policies would have changed; empty when nothing.</summary>
    public ImmutableArray<string> DryRun { get; private init; } = [];

    /// <inheritdoc/>
    public override string ToString() => Reason;

    /// <summary>The permit: work that must not happen without one takes it as an argument.</summary>
    public sealed class Allowed : L4Decision
    {
        internal Allowed(string? policy, int? rule, string reason)
            : base(policy, rule, reason)
        {
        }

        internal Allowed With(ImmutableArray<string> dryRun) => dryRun.IsEmpty ? this : new Allowed(Policy, Rule, Reason) { DryRun = dryRun };
    }

    /// <summary>The refusal.</summary>
    public sealed class Denied : L4Decision
    {
        internal Denied(string? policy, int? rule, string reason, ImmutableArray<string> remedies, ImmutableArray<string> dryRun)
            : base(policy, rule, reason)
        {
            Remedies = remedies;
            DryRun = dryRun;
        }

        /// <summary>What would have had to match, or not to match, for the connection to be allowed; one line each.</summary>
        public ImmutableArray<string> Remedies { get; }
    }
}
