using System.Collections.Immutable;
using Mesh.Core.Identity;

namespace Mesh.Core.Policy;

/// <summary>Policies in words, for decisions and their explanations.</summary>
internal static class PolicyText
{
    // A list of ten thousand principals is not an explanation.
    private const int Shown = 8;

    public static string Rule(AuthorizationRule rule) =>
        rule.Clauses.IsEmpty ? "matches every connection" : string.Join(" and ", rule.Clauses.Select(Clause));

    public static string Clause(AuthorizationClause clause) => clause.Matches.Length switch
    {
        0 => "(anything)",
        1 => Match(clause.Matches[0]),
        _ => $"({string.Join(" or ", clause.Matches.Select(Match))})",
    };

    public static string Match(AuthorizationMatch match) =>
        match.IsEmpty ? "(an empty match, which never matches)" : string.Join(", ", Conditions(match));

    /// <summary>The condition that did not hold, and what the connection has instead.</summary>
    public static string Miss(AuthorizationMatch match, MatchAttribute attribute, in L4Connection connection)
    {
        var has = attribute switch
        {
            MatchAttribute.Namespaces or MatchAttribute.NotNamespaces => connection.SourceIdentity?.Namespace is { } ns ? $"'{ns}'" : "none",
            MatchAttribute.SourceIps or MatchAttribute.NotSourceIps => connection.Source.ToString(),
            MatchAttribute.DestinationIps or MatchAttribute.NotDestinationIps => connection.Destination.Address.ToString(),
            MatchAttribute.DestinationPorts or MatchAttribute.NotDestinationPorts => connection.Destination.Port.ToString(),
            MatchAttribute.Principals or MatchAttribute.NotPrincipals when connection.SourceIdentity is { } id =>
                string.Join(", also ", connection.SourceAliases.Prepend(id).Select(name => name.Principal.ToString())),
            _ => connection.SourceIdentity is { } id ? id.Principal.ToString() : "no identity",
        };
        return $"needs {Condition(match, attribute)}; the connection has {has}";
    }

    private static IEnumerable<string> Conditions(AuthorizationMatch match)
    {
        foreach (var attribute in Enum.GetValues<MatchAttribute>())
        {
            if (Condition(match, attribute) is { Length: > 0 } text)
            {
                yield return text;
            }
        }

        foreach (var entry in match.Unreadable)
        {
            yield return $"an entry of {entry.Attribute} that could not be understood ({SpiffeId.Printable(entry.Reason)})";
        }
    }

    private static string Condition(AuthorizationMatch match, MatchAttribute attribute) => attribute switch
    {
        MatchAttribute.Namespaces => List("namespaces", match.Namespaces),
        MatchAttribute.NotNamespaces => List("notNamespaces", match.NotNamespaces),
        MatchAttribute.Principals => List("principals", match.Principals),
        MatchAttribute.NotPrincipals => List("notPrincipals", match.NotPrincipals),
        MatchAttribute.SourceIps => List("sourceIps", match.SourceIps),
        MatchAttribute.NotSourceIps => List("notSourceIps", match.NotSourceIps),
        MatchAttribute.DestinationIps => List("destinationIps", match.DestinationIps),
        MatchAttribute.NotDestinationIps => List("notDestinationIps", match.NotDestinationIps),
        MatchAttribute.DestinationPorts => List("destinationPorts", match.DestinationPorts),
        MatchAttribute.NotDestinationPorts => List("notDestinationPorts", match.NotDestinationPorts),
        MatchAttribute.ServiceAccounts => List("serviceAccounts", match.ServiceAccounts),
        MatchAttribute.NotServiceAccounts => List("notServiceAccounts", match.NotServiceAccounts),
        _ => "",
    };

    private static string List<T>(string name, ImmutableArray<T> entries)
        where T : struct
    {
        if (entries.IsEmpty)
        {
            return "";
        }

        var shown = string.Join(" or ", entries.Take(Shown));
        return entries.Length > Shown ? $"{name} {shown} or {entries.Length - Shown} more" : $"{name} {shown}";
    }
}
