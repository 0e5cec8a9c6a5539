using System.Collections.Frozen;
using System.Collections.Immutable;
using Mesh.Core.Identity;

namespace Mesh.Core.Policy;

/// <summary>Finds the rules that a connection could match, without looking at the others.</summary>
/// <remarks>
/// A rule can match only if each of its clauses does. One clause is enough to file it by: a clause all of whose matches name
/// exact principals, service accounts, namespaces or ports. Rules without such a clause are asked every time.
/// </remarks>
internal sealed class RuleIndex
{
    public static readonly RuleIndex Empty = new([]);

    private readonly FrozenDictionary<string, CompiledRule[]> _byPrincipal;
    private readonly FrozenDictionary<string, CompiledRule[]>.AlternateLookup<ReadOnlySpan<char>> _byPrincipalText;
    private readonly FrozenDictionary<ServiceAccountMatch, CompiledRule[]> _byServiceAccount;
    private readonly FrozenDictionary<string, CompiledRule[]> _byNamespace;
    private readonly FrozenDictionary<int, CompiledRule[]> _byPort;
    private readonly CompiledRule[] _others;

    public RuleIndex(IReadOnlyCollection<CompiledRule> rules)
    {
        var byPrincipal = new Dictionary<string, List<CompiledRule>>();
        var byServiceAccount = new Dictionary<ServiceAccountMatch, List<CompiledRule>>();
        var byNamespace = new Dictionary<string, List<CompiledRule>>();
        var byPort = new Dictionary<int, List<CompiledRule>>();
        var others = new List<CompiledRule>();
        foreach (var rule in rules)
        {
            if (BestClause(rule) is not { } clause)
            {
                others.Add(rule);
                continue;
            }

            foreach (var match in clause)
            {
                switch (KeyOf(match))
                {
                    case MatchAttribute.Principals:
                        File(byPrincipal, match.Source.Principals.Select(principal => principal.Value), rule);
                        break;
                    case MatchAttribute.ServiceAccounts:
                        File(byServiceAccount, match.Source.ServiceAccounts, rule);
                        break;
                    case MatchAttribute.DestinationPorts:
                        File(byPort, match.Source.DestinationPorts, rule);
                        break;
                    default:
                        File(byNamespace, match.Source.Namespaces.Select(ns => ns.Value), rule);
                        break;
                }
            }
        }

        _byPrincipal = Freeze(byPrincipal);
        _byPrincipalText = _byPrincipal.GetAlternateLookup<ReadOnlySpan<char>>();
        _byServiceAccount = Freeze(byServiceAccount);
        _byNamespace = Freeze(byNamespace);
        _byPort = Freeze(byPort);
        _others = [.. others];
    }

    /// <summary>The first rule, in the order of the policies, that matches; null when none does. Allocates nothing.</summary>
    public CompiledRule? FirstMatch(in L4Connection connection)
    {
        CompiledRule? first = null;
        var identity = connection.SourceIdentity;
        if (identity is not null)
        {
            FirstNamed(identity, connection, ref first);
            foreach (var alias in connection.SourceAliases)
            {
                FirstNamed(alias, connection, ref first);
            }

            if (identity is { Namespace: { } ns, ServiceAccount: { } serviceAccount }
                && _byServiceAccount.TryGetValue(new ServiceAccountMatch(ns, serviceAccount), out var accounts))
            {
                First(accounts, connection, ref first);
            }
        }

        if (_byNamespace.TryGetValue(identity?.Namespace ?? "", out var spaced))
        {
            First(spaced, connection, ref first);
        }

        if (_byPort.TryGetValue(connection.Destination.Port, out var ported))
        {
            First(ported, connection, ref first);
        }

        First(_others, connection, ref first);
        return first;
    }

    private void FirstNamed(SpiffeId name, in L4Connection connection, ref CompiledRule? first)
    {
        if (_byPrincipalText.TryGetValue(name.Principal, out var named))
        {
            First(named, connection, ref first);
        }
    }

    private static void First(CompiledRule[] candidates, in L4Connection connection, ref CompiledRule? first)
    {
        foreach (var rule in candidates)
        {
            if (first is not null && rule.Order >= first.Order)
            {
                return;
            }

            if (rule.Matches(connection))
            {
                first = rule;
                return;
            }
        }
    }

    private static ImmutableArray<CompiledMatch>? BestClause(CompiledRule rule)
    {
        ImmutableArray<CompiledMatch>? best = null;
        var bestRank = int.MaxValue;
        foreach (var clause in rule.Clauses)
        {
            var rank = clause.Max(match => KeyOf(match) switch
            {
                MatchAttribute.Principals => 0,
                MatchAttribute.ServiceAccounts => 1,
                MatchAttribute.Namespaces => 2,
                MatchAttribute.DestinationPorts => 3,
                _ => int.MaxValue,
            });
            if (rank < bestRank)
            {
                best = clause;
                bestRank = rank;
            }
        }

        return best;
    }

    private static MatchAttribute? KeyOf(CompiledMatch match)
    {
        var source = match.Source;
        return AllExact(source.Principals) && match.IsReadable(MatchAttribute.Principals) ? MatchAttribute.Principals
            : !source.ServiceAccounts.IsEmpty && match.IsReadable(MatchAttribute.ServiceAccounts) ? MatchAttribute.ServiceAccounts
            : AllExact(source.Namespaces) && match.IsReadable(MatchAttribute.Namespaces) ? MatchAttribute.Namespaces
            : !source.DestinationPorts.IsEmpty && match.IsReadable(MatchAttribute.DestinationPorts) ? MatchAttribute.DestinationPorts
            : null;
    }

    private static bool AllExact(ImmutableArray<StringMatch> matches) =>
        !matches.IsEmpty && matches.All(match => match.Kind is StringMatchKind.Exact);

    private static void File<TKey>(Dictionary<TKey, List<CompiledRule>> index, IEnumerable<TKey> keys, CompiledRule rule)
        where TKey : notnull
    {
        foreach (var key in keys)
        {
            if (!index.TryGetValue(key, out var rules))
            {
                index.Add(key, rules = []);
            }

            if (rules.Count == 0 || rules[^1] != rule)
            {
                rules.Add(rule);
            }
        }
    }

    private static FrozenDictionary<TKey, CompiledRule[]> Freeze<TKey>(Dictionary<TKey, List<CompiledRule>> index)
        where TKey : notnull => index.ToFrozenDictionary(pair => pair.Key, pair => pair.Value.ToArray());
}
