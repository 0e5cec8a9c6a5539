using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using Mesh.Core.Workloads;

namespace Mesh.Core.Policy;

/// <summary>All L4 authorization policies of a mesh, immutable and compiled: adding or removing one compiles again only what stands with it.</summary>
public sealed class L4PolicySet
{
    /// <summary>No policies: everything is allowed.</summary>
    public static readonly L4PolicySet Empty = new(
        ImmutableDictionary<string, CompiledPolicies>.Empty, ImmutableDictionary<string, CompiledPolicies>.Empty, CompiledPolicies.None);

    // By key: each policy on its own, for the workloads that list it.
    private readonly ImmutableDictionary<string, CompiledPolicies> _byKey;
    private readonly ImmutableDictionary<string, CompiledPolicies> _byNamespace;
    private readonly CompiledPolicies _global;

    private L4PolicySet(
        ImmutableDictionary<string, CompiledPolicies> byKey, ImmutableDictionary<string, CompiledPolicies> byNamespace, CompiledPolicies global)
    {
        _byKey = byKey;
        _byNamespace = byNamespace;
        _global = global;
    }

    /// <summary>How many policies there are.</summary>
    public int Count => _byKey.Count;

    /// <summary>The policies, in no particular order.</summary>
    public IEnumerable<L4Authorization> Policies => _byKey.Values.Select(compiled => compiled.Policies[0]);

    internal CompiledPolicies Global => _global;

    /// <summary>Makes a set of policies; of several with one key the last counts.</summary>
    public static L4PolicySet Create(params IEnumerable<L4Authorization> policies) => Empty.With(policies, []);

    /// <summary>Finds a policy by its key, <c>namespace/name</c>.</summary>
    public bool TryGet(string key, [NotNullWhen(true)] out L4Authorization? policy)
    {
        policy = _byKey.TryGetValue(key, out var compiled) ? compiled.Policies[0] : null;
        return policy is not null;
    }

    /// <summary>A set with policies removed, by key, and then others added or replaced. Unknown keys are passed over.</summary>
    public L4PolicySet With(IEnumerable<L4Authorization> upserts, IEnumerable<string> removals)
    {
        var byKey = _byKey.ToBuilder();
        var changed = new Dictionary<string, Dictionary<string, L4Authorization>>();
        Dictionary<string, L4Authorization>? global = null;
        foreach (var key in removals)
        {
            Remove(key);
        }

        foreach (var policy in upserts)
        {
            Remove(policy.Key);
            byKey.Add(policy.Key, new CompiledPolicies([policy]));
            Members(policy)?.Add(policy.Key, policy);
        }

        var byNamespace = _byNamespace.ToBuilder();
        foreach (var (ns, members) in changed)
        {
            if (members.Count > 0)
            {
                byNamespace[ns] = new CompiledPolicies(members.Values);
            }
            else
            {
                byNamespace.Remove(ns);
            }
        }

        return new L4PolicySet(byKey.ToImmutable(), byNamespace.ToImmutable(), global is null ? _global : new CompiledPolicies(global.Values));

        void Remove(string key)
        {
            if (byKey.Remove(key, out var old))
            {
                Members(old.Policies[0])?.Remove(key);
            }
        }

        // The policies that stand with this one, as they will be; null when it stands alone.
        Dictionary<string, L4Authorization>? Members(L4Authorization policy)
        {
            switch (policy.Scope)
            {
                case AuthorizationScope.Global:
                    return global ??= _global.Policies.ToDictionary(member => member.Key);
                case AuthorizationScope.Namespace:
                    if (!changed.TryGetValue(policy.Namespace, out var members))
                    {
                        changed.Add(policy.Namespace, members = OfNamespace(policy.Namespace).Policies.ToDictionary(member => member.Key));
                    }

                    return members;
                default:
                    return null;
            }
        }
    }

    /// <summary>Whether the same policies apply to a workload as in another set: then no decision about it can be another.</summary>
    /// <param name="other">The other set.</param>
    /// <param name="destination">The workload.</param>
    public bool AppliesAlike(L4PolicySet other, Workload destination)
    {
        ArgumentNullException.ThrowIfNull(other);
        ArgumentNullException.ThrowIfNull(destination);
        return ReferenceEquals(this, other)
            || (ReferenceEquals(_global, other._global)
                && ReferenceEquals(OfNamespace(destination.Namespace), other.OfNamespace(destination.Namespace))
                && destination.AuthorizationPolicies.All(key => ReferenceEquals(Listed(key), other.Listed(key))));
    }

    internal CompiledPolicies OfNamespace(string ns) => _byNamespace.TryGetValue(ns, out var compiled) ? compiled : CompiledPolicies.None;

    internal CompiledPolicies? Listed(string key) => _byKey.TryGetValue(key, out var compiled) ? compiled : null;
}
