using System.Collections.Immutable;
using System.Net;
using static Mesh.Core.Policy.MatchAttribute;

namespace Mesh.Core.Policy;

/// <summary>One match of a policy, ready to be asked. Unreadable entries are settled here, once, in the safe direction of the action.</summary>
internal sealed class CompiledMatch
{
    private readonly AuthorizationMatch _match;

    // DENY: the attributes with an unreadable entry; each counts as matched. One bit per MatchAttribute.
    private readonly int _assumed;

    private CompiledMatch(AuthorizationMatch match, int assumed)
    {
        _match = match;
        _assumed = assumed;
    }

    public AuthorizationMatch Source => _match;

    /// <summary>Null when the match can never match.</summary>
    public static CompiledMatch? Compile(AuthorizationMatch match, AuthorizationAction action)
    {
        if (match.IsEmpty)
        {
            return null;
        }

        if (action is AuthorizationAction.Allow)
        {
            return match.Unreadable.IsEmpty ? new CompiledMatch(match, 0) : null;
        }

        return new CompiledMatch(match, match.Unreadable.Aggregate(0, (bits, entry) => bits | (1 << (int)entry.Attribute)));
    }

    public bool Matches(in L4Connection connection) => FirstMiss(connection) is null;

    /// <summary>The first attribute that does not hold; null when all do.</summary>
    public MatchAttribute? FirstMiss(in L4Connection connection)
    {
        var sourceNamespace = connection.SourceIdentity?.Namespace ?? "";
        return Misses(Namespaces, !_match.Namespaces.IsEmpty && !AnyText(_match.Namespaces, sourceNamespace)) ? Namespaces
            : Misses(NotNamespaces, AnyText(_match.NotNamespaces, sourceNamespace)) ? NotNamespaces
            : Misses(Principals, !_match.Principals.IsEmpty && !AnyPrincipal(_match.Principals, connection)) ? Principals
            : Misses(NotPrincipals, AnyPrincipal(_match.NotPrincipals, connection)) ? NotPrincipals
            : Misses(SourceIps, !_match.SourceIps.IsEmpty && !AnyRange(_match.SourceIps, connection.Source)) ? SourceIps
            : Misses(NotSourceIps, AnyRange(_match.NotSourceIps, connection.Source)) ? NotSourceIps
            : Misses(DestinationIps, !_match.DestinationIps.IsEmpty && !AnyRange(_match.DestinationIps, connection.Destination.Address)) ? DestinationIps
            : Misses(NotDestinationIps, AnyRange(_match.NotDestinationIps, connection.Destination.Address)) ? NotDestinationIps
            : Misses(DestinationPorts, !_match.DestinationPorts.IsEmpty && !_match.DestinationPorts.Contains(connection.Destination.Port)) ? DestinationPorts
            : Misses(NotDestinationPorts, _match.NotDestinationPorts.Contains(connection.Destination.Port)) ? NotDestinationPorts
            : Misses(ServiceAccounts, !_match.ServiceAccounts.IsEmpty && !AnyServiceAccount(_match.ServiceAccounts, connection)) ? ServiceAccounts
            : Misses(NotServiceAccounts, AnyServiceAccount(_match.NotServiceAccounts, connection)) ? NotServiceAccounts
            : null;
    }

    /// <summary>Whether the attribute is one that decides by its readable entries alone, so that an index may use them.</summary>
    public bool IsReadable(MatchAttribute attribute) => (_assumed & (1 << (int)attribute)) == 0;

    private bool Misses(MatchAttribute attribute, bool miss) => miss && IsReadable(attribute);

    private static bool AnyText(ImmutableArray<StringMatch> matches, ReadOnlySpan<char> text)
    {
        foreach (var match in matches)
        {
            if (match.Matches(text))
            {
                return true;
            }
        }

        return false;
    }

    // Under any of its names: a policy that names an old one still means the workload, whether it allows, denies or makes an exception of it.
    private static bool AnyPrincipal(ImmutableArray<StringMatch> matches, in L4Connection connection)
    {
        if (connection.SourceIdentity is not { } identity || matches.IsEmpty)
        {
            return false;
        }

        if (AnyText(matches, identity.Principal))
        {
            return true;
        }

        foreach (var alias in connection.SourceAliases)
        {
            if (AnyText(matches, alias.Principal))
            {
                return true;
            }
        }

        return false;
    }

    private static bool AnyRange(ImmutableArray<IPNetwork> ranges, IPAddress address)
    {
        foreach (var range in ranges)
        {
            if (range.Contains(address))
            {
                return true;
            }
        }

        return false;
    }

    private static bool AnyServiceAccount(ImmutableArray<ServiceAccountMatch> accounts, in L4Connection connection)
    {
        if (connection.SourceIdentity is not { Namespace: { } ns, ServiceAccount: { } serviceAccount })
        {
            return false;
        }

        foreach (var account in accounts)
        {
            if (account.ServiceAccount == serviceAccount && account.Namespace == ns)
            {
                return true;
            }
        }

        return false;
    }
}
