using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;

namespace Mesh.Core.Policy;

/// <summary>Policies, in the words of one. Those that say nothing of their scope apply to their namespace.</summary>
internal static class Policies
{
    public static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");

    public static readonly SpiffeId Teller = SpiffeId.Parse("spiffe://bank.example/ns/bank/sa/teller");

    public static L4Authorization Allow(string key, params ImmutableArray<AuthorizationRule> rules) => Make(key, AuthorizationAction.Allow, rules);

    public static L4Authorization Deny(string key, params ImmutableArray<AuthorizationRule> rules) => Make(key, AuthorizationAction.Deny, rules);

    public static L4Authorization DryRun(this L4Authorization policy) => policy with { DryRun = true };

    public static L4Authorization Global(this L4Authorization policy) => policy with { Scope = AuthorizationScope.Global };

    public static L4Authorization ForSelector(this L4Authorization policy) => policy with { Scope = AuthorizationScope.WorkloadSelector };

    /// <summary>A rule of one clause with one match: all the conditions must hold.</summary>
    public static AuthorizationRule When(params AuthorizationMatch[] conditions) => new(Either(All(conditions)));

    /// <summary>A clause: any of the matches suffices.</summary>
    public static AuthorizationClause Either(params ImmutableArray<AuthorizationMatch> matches) => new(matches);

    /// <summary>One match with the conditions of several.</summary>
    public static AuthorizationMatch All(params AuthorizationMatch[] conditions) => conditions.Aggregate(
        new AuthorizationMatch(),
        static (left, right) => new AuthorizationMatch
        {
            Namespaces = left.Namespaces.AddRange(right.Namespaces),
            NotNamespaces = left.NotNamespaces.AddRange(right.NotNamespaces),
            Principals = left.Principals.AddRange(right.Principals),
            NotPrincipals = left.NotPrincipals.AddRange(right.NotPrincipals),
            SourceIps = left.SourceIps.AddRange(right.SourceIps),
            NotSourceIps = left.NotSourceIps.AddRange(right.NotSourceIps),
            DestinationIps = left.DestinationIps.AddRange(right.DestinationIps),
            NotDestinationIps = left.NotDestinationIps.AddRange(right.NotDestinationIps),
            DestinationPorts = left.DestinationPorts.AddRange(right.DestinationPorts),
            NotDestinationPorts = left.NotDestinationPorts.AddRange(right.NotDestinationPorts),
            ServiceAccounts = left.ServiceAccounts.AddRange(right.ServiceAccounts),
            NotServiceAccounts = left.NotServiceAccounts.AddRange(right.NotServiceAccounts),
            Unreadable = left.Unreadable.AddRange(right.Unreadable),
        });

    /// <summary>A match of one attribute, its entries as configuration writes them: <c>web</c>, <c>web*</c>, <c>10.0.0.0/8</c>, <c>8080</c>, <c>shop/web</c>.</summary>
    public static AuthorizationMatch Is(MatchAttribute attribute, params IEnumerable<string> entries) => attribute switch
    {
        MatchAttribute.Namespaces => new AuthorizationMatch { Namespaces = [.. entries.Select(Text)] },
        MatchAttribute.NotNamespaces => new AuthorizationMatch { NotNamespaces = [.. entries.Select(Text)] },
        MatchAttribute.Principals => new AuthorizationMatch { Principals = [.. entries.Select(Text)] },
        MatchAttribute.NotPrincipals => new AuthorizationMatch { NotPrincipals = [.. entries.Select(Text)] },
        MatchAttribute.SourceIps => new AuthorizationMatch { SourceIps = [.. entries.Select(IPNetwork.Parse)] },
        MatchAttribute.NotSourceIps => new AuthorizationMatch { NotSourceIps = [.. entries.Select(IPNetwork.Parse)] },
        MatchAttribute.DestinationIps => new AuthorizationMatch { DestinationIps = [.. entries.Select(IPNetwork.Parse)] },
        MatchAttribute.NotDestinationIps => new AuthorizationMatch { NotDestinationIps = [.. entries.Select(IPNetwork.Parse)] },
        MatchAttribute.DestinationPorts => new AuthorizationMatch { DestinationPorts = [.. entries.Select(int.Parse)] },
        MatchAttribute.NotDestinationPorts => new AuthorizationMatch { NotDestinationPorts = [.. entries.Select(int.Parse)] },
        MatchAttribute.ServiceAccounts => new AuthorizationMatch { ServiceAccounts = [.. entries.Select(Account)] },
        MatchAttribute.NotServiceAccounts => new AuthorizationMatch { NotServiceAccounts = [.. entries.Select(Account)] },
        _ => throw new ArgumentOutOfRangeException(nameof(attribute)),
    };

    /// <summary>A match with one entry that could not be understood.</summary>
    public static AuthorizationMatch Unreadable(MatchAttribute attribute, string reason = "address of 3 bytes") =>
        new() { Unreadable = [new UnreadableEntry(attribute, reason)] };

    public static StringMatch Text(string text) => text switch
    {
        "*" => StringMatch.Presence,
        [.. var prefix, '*'] => StringMatch.Prefix(prefix),
        ['*', .. var suffix] => StringMatch.Suffix(suffix),
        _ => StringMatch.Exact(text),
    };

    /// <summary>A connection to port 8080 of 10.0.0.9, unless told otherwise.</summary>
    public static L4Connection From(SpiffeId? identity, string source = "10.1.2.3", string destination = "10.0.0.9", int port = 8080) =>
        new(IPAddress.Parse(source), identity, new IPEndPoint(IPAddress.Parse(destination), port));

    /// <summary>The same connection, of a client whose identity has other names.</summary>
    public static L4Connection AlsoKnownAs(this L4Connection connection, params ImmutableArray<SpiffeId> aliases) =>
        new(connection.Source, connection.SourceIdentity, connection.Destination, aliases);

    /// <summary>What policies say of a connection to a workload of the namespace "shop" that lists the given keys.</summary>
    public static L4Decision Decide(this L4PolicySet policies, L4Connection connection, params ImmutableArray<string> listed) =>
        L4Authorizer.Authorize(policies, "shop", listed, connection);

    private static L4Authorization Make(string key, AuthorizationAction action, ImmutableArray<AuthorizationRule> rules) => new()
    {
        Namespace = key.Split('/')[0],
        Name = key.Split('/')[1],
        Scope = AuthorizationScope.Namespace,
        Action = action,
        Rules = rules,
    };

    private static ServiceAccountMatch Account(string text) => new(text.Split('/')[0], text.Split('/')[1]);
}
