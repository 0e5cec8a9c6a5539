using System.Collections.Immutable;
using System.Text;

namespace Mesh.Core.Policy;

/// <summary>One rule of a policy, ready to be asked, with the words for its verdict.</summary>
internal sealed class CompiledRule
{
    private CompiledRule(L4Authorization policy, int number, int order, ImmutableArray<ImmutableArray<CompiledMatch>> clauses)
    {
        Policy = policy;
        Number = number;
        Order = order;
        Clauses = clauses;
        Allowed = new L4Decision.Allowed(policy.Key, number, $"allowed by policy {policy.Key}, rule {number}: {PolicyText.Rule(policy.Rules[number - 1])}");
    }

    public L4Authorization Policy { get; }

    /// <summary>Counted from 1, as people do.</summary>
    public int Number { get; }

    /// <summary>The place among all rules of the set: of several that match, the first one is named.</summary>
    public int Order { get; }

    public ImmutableArray<ImmutableArray<CompiledMatch>> Clauses { get; }

    public L4Decision.Allowed Allowed { get; }

    /// <summary>Null when the rule can never match.</summary>
    public static CompiledRule? Compile(L4Authorization policy, int number, int order)
    {
        var clauses = ImmutableArray.CreateBuilder<ImmutableArray<CompiledMatch>>();
        foreach (var clause in policy.Rules[number - 1].Clauses)
        {
            if (clause.Matches.IsEmpty)
            {
                continue;
            }

            ImmutableArray<CompiledMatch> matches = [.. clause.Matches.Select(match => CompiledMatch.Compile(match, policy.Action)).OfType<CompiledMatch>()];
            if (matches.IsEmpty)
            {
                return null;
            }

            clauses.Add(matches);
        }

        return new CompiledRule(policy, number, order, clauses.ToImmutable());
    }

    /// <summary>The permit, which says under which of its names the connection got it.</summary>
    public L4Decision.Allowed AllowedFor(in L4Connection connection) =>
        AliasText(connection) is { Length: > 0 } words ? new L4Decision.Allowed(Policy.Key, Number, Allowed.Reason + words) : Allowed;

    public bool Matches(in L4Connection connection)
    {
        foreach (var clause in Clauses)
        {
            if (!Matches(clause, connection))
            {
                return false;
            }
        }

        return true;
    }

    public L4Decision.Denied Denied(in L4Connection connection, ImmutableArray<string> dryRun)
    {
        var words = new StringBuilder();
        foreach (var clause in Clauses)
        {
            var matched = FirstMatching(clause, connection);
            words.Append(words.Length == 0 ? "" : " and ").Append(PolicyText.Match(matched.Source));
        }

        return new L4Decision.Denied(
            Policy.Key,
            Number,
            $"explicitly denied by: {Policy.Key}, rule {Number}: {(words.Length == 0 ? "matches every connection" : words)}{AliasText(connection)}",
            [$"{Policy.Key}, rule {Number} must not match: it does for {connection}"],
            dryRun);
    }

    // Empty when the rule matches under the proven name, or only when several names are taken together.
    private string AliasText(in L4Connection connection)
    {
        if (connection.SourceAliases.IsEmpty || connection.SourceIdentity is not { } proven || Matches(new L4Connection(connection.Source, proven, connection.Destination)))
        {
            return "";
        }

        foreach (var alias in connection.SourceAliases)
        {
            if (Matches(new L4Connection(connection.Source, alias, connection.Destination)))
            {
                return $"; matched as {alias.Principal}, another name of {proven.Principal}";
            }
        }

        return "";
    }

    private static bool Matches(ImmutableArray<CompiledMatch> clause, in L4Connection connection)
    {
        foreach (var match in clause)
        {
            if (match.Matches(connection))
            {
                return true;
            }
        }

        return false;
    }

    private static CompiledMatch FirstMatching(ImmutableArray<CompiledMatch> clause, in L4Connection connection)
    {
        foreach (var match in clause)
        {
            if (match.Matches(connection))
            {
                return match;
            }
        }

        return clause[0];
    }
}
