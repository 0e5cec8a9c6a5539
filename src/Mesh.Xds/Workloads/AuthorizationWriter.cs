using System.Collections.Immutable;
using System.Net;
using Google.Protobuf.WellKnownTypes;
using Mesh.Core.Policy;
using Mesh.Xds.Protos;
using Wire = Mesh.Xds.Protos.Security;

namespace Mesh.Xds.Workloads;

/// <summary>Writes policies as <c>istio.security.Authorization</c>: the reverse of <see cref="AuthorizationReader"/>.</summary>
internal static class AuthorizationWriter
{
    /// <summary>Writes one. What could not be read when the policy came in stays unreadable: a string match of no kind, which fails closed wherever it is read.</summary>
    public static Wire.Authorization Write(L4Authorization policy)
    {
        var wire = new Wire.Authorization
        {
            Name = policy.Name,
            Namespace = policy.Namespace,
            Scope = (Wire.Scope)policy.Scope,
            Action = (Wire.Action)policy.Action,
            DryRun = policy.DryRun,
        };
        wire.Rules.Add(policy.Rules.Select(rule =>
        {
            var wireRule = new Wire.Rule();
            wireRule.Clauses.Add(rule.Clauses.Select(clause =>
            {
                var wireClause = new Wire.Clause();
                wireClause.Matches.Add(clause.Matches.Select(Write));
                return wireClause;
            }));
            return wireRule;
        }));
        return wire;
    }

    private static Wire.Match Write(AuthorizationMatch match)
    {
        var wire = new Wire.Match();
        wire.Namespaces.Add(Texts(match.Namespaces));
        wire.NotNamespaces.Add(Texts(match.NotNamespaces));
        wire.Principals.Add(Texts(match.Principals));
        wire.NotPrincipals.Add(Texts(match.NotPrincipals));
        wire.SourceIps.Add(Ranges(match.SourceIps));
        wire.NotSourceIps.Add(Ranges(match.NotSourceIps));
        wire.DestinationIps.Add(Ranges(match.DestinationIps));
        wire.NotDestinationIps.Add(Ranges(match.NotDestinationIps));
        wire.DestinationPorts.Add(match.DestinationPorts.Select(port => (uint)port));
        wire.NotDestinationPorts.Add(match.NotDestinationPorts.Select(port => (uint)port));
        wire.ServiceAccounts.Add(Accounts(match.ServiceAccounts));
        wire.NotServiceAccounts.Add(Accounts(match.NotServiceAccounts));
        foreach (var entry in match.Unreadable)
        {
            AddUnreadable(wire, entry.Attribute);
        }

        return wire;
    }

    // In its own list: there a DENY policy takes it for matched, and must not be narrowed to the entries beside it.
    private static void AddUnreadable(Wire.Match wire, MatchAttribute attribute)
    {
        switch (attribute)
        {
            case MatchAttribute.Namespaces:
                wire.Namespaces.Add(new Wire.StringMatch());
                break;
            case MatchAttribute.NotNamespaces:
                wire.NotNamespaces.Add(new Wire.StringMatch());
                break;
            case MatchAttribute.Principals:
                wire.Principals.Add(new Wire.StringMatch());
                break;
            case MatchAttribute.NotPrincipals:
                wire.NotPrincipals.Add(new Wire.StringMatch());
                break;
            case MatchAttribute.SourceIps:
                wire.SourceIps.Add(new Wire.Address());
                break;
            case MatchAttribute.NotSourceIps:
                wire.NotSourceIps.Add(new Wire.Address());
                break;
            case MatchAttribute.DestinationIps:
                wire.DestinationIps.Add(new Wire.Address());
                break;
            case MatchAttribute.NotDestinationIps:
                wire.NotDestinationIps.Add(new Wire.Address());
                break;
            case MatchAttribute.DestinationPorts:
                wire.DestinationPorts.Add(IPEndPoint.MaxPort + 1);
                break;
            case MatchAttribute.NotDestinationPorts:
                wire.NotDestinationPorts.Add(IPEndPoint.MaxPort + 1);
                break;

            // A service account has no form that cannot be read, an unknown attribute has none at all.
            case MatchAttribute.ServiceAccounts:
                wire.ServiceAccounts.Clear();
                goto default;
            case MatchAttribute.NotServiceAccounts:
                wire.NotServiceAccounts.Clear();
                goto default;
            default:
                wire.Extensions.Add(new Extension { Name = "unreadable" });
                break;
        }
    }

    private static IEnumerable<Wire.StringMatch> Texts(ImmutableArray<StringMatch> matches) => matches.Select(match => match.Kind switch
    {
        StringMatchKind.Exact => new Wire.StringMatch { Exact = match.Value },
        StringMatchKind.Prefix => new Wire.StringMatch { Prefix = match.Value },
        StringMatchKind.Suffix => new Wire.StringMatch { Suffix = match.Value },
        _ => new Wire.StringMatch { Presence = new Empty() },
    });

    private static IEnumerable<Wire.Address> Ranges(ImmutableArray<IPNetwork> ranges) =>
        ranges.Select(range => new Wire.Address { Address_ = AddressWriter.Write(range.BaseAddress), Length = (uint)range.PrefixLength });

    private static IEnumerable<Wire.ServiceAccountMatch> Accounts(ImmutableArray<ServiceAccountMatch> accounts) =>
        accounts.Select(account => new Wire.ServiceAccountMatch { Namespace = account.Namespace, ServiceAccount = account.ServiceAccount });
}
