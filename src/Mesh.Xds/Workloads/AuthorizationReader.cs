using System.Collections.Immutable;
using System.Net;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Wire = Mesh.Xds.Protos.Security;

namespace Mesh.Xds.Workloads;

/// <summary>A resource of the type <c>istio.security.Authorization</c>.</summary>
/// <param name="Policy">The policy; what of it could not be read stands in it such that it opens nothing and closes what it may have closed.</param>
/// <param name="Fault">What could not be read; null when all could.</param>
/// <param name="IsReadable">Whether the resource is a policy at all. When it is not, <paramref name="Policy"/> denies everything in the namespace of its name; everywhere, if that is <c>istio-system</c> or none.</param>
public sealed record MeshAuthorization(L4Authorization Policy, string? Fault, bool IsReadable);

/// <summary>Reads <c>istio.security.Authorization</c> (ztunnel §6.2, §9.3), and fails closed where Istio's ztunnel drops what it cannot read.</summary>
/// <remarks>
/// What of a match is not understood never matches in an ALLOW policy and always in a DENY policy. An action that is not known is read as DENY,
/// a scope that is not known as that of the namespace. docs/decisions.md has the reasons.
/// </remarks>
internal static class AuthorizationReader
{
    private static readonly MessageParser<Wire.Authorization> Known = Wire.Authorization.Parser.WithDiscardUnknownFields(true);
    private static readonly MessageParser<Wire.Match> KnownMatch = Wire.Match.Parser.WithDiscardUnknownFields(true);

    // Where istiod has policies of the whole mesh (ztunnel §5.10).
    private const string RootNamespace = "istio-system";

    private static readonly UnreadableEntry NotKnown = new(MatchAttribute.Unknown, "has an attribute that is not known");

    /// <summary>Reads one; always answers.</summary>
    public static MeshAuthorization Read(string name, ReadOnlySpan<byte> octets)
    {
        Wire.Authorization wire;
        try
        {
            wire = Wire.Authorization.Parser.ParseFrom(octets);
        }
        catch (InvalidProtocolBufferException e)
        {
            return new MeshAuthorization(DenyAll(name), $"it is no authorization policy: {e.Message}", IsReadable: false);
        }

        if (wire.Name.Length == 0)
        {
            return new MeshAuthorization(DenyAll(name), "name is empty", IsReadable: false);
        }

        var faults = new Faults();

        // Looked for only where there is something to be found.
        var mayBeUnknown = Known.ParseFrom(octets).CalculateSize() < wire.CalculateSize();
        var policy = new L4Authorization
        {
            Name = wire.Name,
            Namespace = wire.Namespace,
            Scope = wire.Scope switch
            {
                Wire.Scope.Global => AuthorizationScope.Global,
                Wire.Scope.Namespace => AuthorizationScope.Namespace,
                Wire.Scope.WorkloadSelector => AuthorizationScope.WorkloadSelector,
                _ => faults.Unknown("scope", wire.Scope, "GLOBAL (0), NAMESPACE (1) and WORKLOAD_SELECTOR (2)", AuthorizationScope.Namespace),
            },
            Action = wire.Action switch
            {
                Wire.Action.Allow => AuthorizationAction.Allow,
                Wire.Action.Deny => AuthorizationAction.Deny,
                _ => faults.Unknown("action", wire.Action, "ALLOW (0) and DENY (1)", AuthorizationAction.Deny),
            },
            Rules = [.. wire.Rules.Select((rule, index) => Read(rule, $"rules[{index}]", mayBeUnknown, faults))],
            DryRun = wire.DryRun,
        };
        if (policy.Action is AuthorizationAction.Allow && !Enum.IsDefined(wire.Scope))
        {
            // Whom it was to open the door for is not known.
            policy = policy with { Rules = [] };
        }

        return new MeshAuthorization(policy, faults.Any ? faults.ToString() : null, IsReadable: true);
    }

    /// <summary>What takes the place of a resource that is no policy.</summary>
    public static MeshAuthorization Unreadable(string name, string fault) => new(DenyAll(name), fault, IsReadable: false);

    // Whom it was for is not known: the whole of its namespace, and of the mesh where policies of the mesh come from.
    private static L4Authorization DenyAll(string name)
    {
        var slash = name.IndexOf('/', StringComparison.Ordinal);
        var ns = slash < 0 ? "" : name[..slash];
        return new L4Authorization
        {
            Name = name[(slash + 1)..],
            Namespace = ns,
            Scope = ns is "" or RootNamespace ? AuthorizationScope.Global : AuthorizationScope.Namespace,
            Action = AuthorizationAction.Deny,
            Rules = [new AuthorizationRule()],
        };
    }

    private static AuthorizationRule Read(Wire.Rule wire, string name, bool mayBeUnknown, Faults faults)
    {
        var clauses = wire.Clauses.Select(clause => Read(clause, name, mayBeUnknown, faults));
        if (!mayBeUnknown || IsAllKnown(wire.Clone(), rule => rule.Clauses.Clear()))
        {
            return new AuthorizationRule([.. clauses]);
        }

        // One condition more, which is not understood.
        faults.Add(name, NotKnown.Reason);
        return new AuthorizationRule([.. clauses, new AuthorizationClause(new AuthorizationMatch { Unreadable = [NotKnown] })]);
    }

    private static AuthorizationClause Read(Wire.Clause wire, string rule, bool mayBeUnknown, Faults faults)
    {
        var matches = wire.Matches.Select(match => Read(match, rule, mayBeUnknown, faults));
        if (!mayBeUnknown || IsAllKnown(wire.Clone(), clause => clause.Matches.Clear()))
        {
            return new AuthorizationClause([.. matches]);
        }

        // It may narrow every match of the clause, or be one match more.
        faults.Add(rule, NotKnown.Reason);
        return new AuthorizationClause([.. matches.Select(match => match with { Unreadable = match.Unreadable.Add(NotKnown) }), new AuthorizationMatch { Unreadable = [NotKnown] }]);
    }

    // Without what is known, a message that has nothing else is empty.
    private static bool IsAllKnown<T>(T copy, Action<T> clear)
        where T : IMessage
    {
        clear(copy);
        return copy.CalculateSize() == 0;
    }

    private static AuthorizationMatch Read(Wire.Match wire, string rule, bool mayBeUnknown, Faults faults)
    {
        var unreadable = ImmutableArray.CreateBuilder<UnreadableEntry>();
        var match = new AuthorizationMatch
        {
            Namespaces = Texts(wire.Namespaces, MatchAttribute.Namespaces),
            NotNamespaces = Texts(wire.NotNamespaces, MatchAttribute.NotNamespaces),
            Principals = Texts(wire.Principals, MatchAttribute.Principals),
            NotPrincipals = Texts(wire.NotPrincipals, MatchAttribute.NotPrincipals),
            SourceIps = Ranges(wire.SourceIps, MatchAttribute.SourceIps),
            NotSourceIps = Ranges(wire.NotSourceIps, MatchAttribute.NotSourceIps),
            DestinationIps = Ranges(wire.DestinationIps, MatchAttribute.DestinationIps),
            NotDestinationIps = Ranges(wire.NotDestinationIps, MatchAttribute.NotDestinationIps),
            DestinationPorts = Ports(wire.DestinationPorts, MatchAttribute.DestinationPorts),
            NotDestinationPorts = Ports(wire.NotDestinationPorts, MatchAttribute.NotDestinationPorts),
            ServiceAccounts = [.. wire.ServiceAccounts.Select(account => new ServiceAccountMatch(account.Namespace, account.ServiceAccount))],
            NotServiceAccounts = [.. wire.NotServiceAccounts.Select(account => new ServiceAccountMatch(account.Namespace, account.ServiceAccount))],
        };
        if (wire.Extensions.Count > 0)
        {
            Unreadable(MatchAttribute.Unknown, $"has the extension '{wire.Extensions[0].Name}', which is not known");
        }

        if (mayBeUnknown && KnownMatch.ParseFrom(wire.ToByteString()).CalculateSize() < wire.CalculateSize())
        {
            Unreadable(MatchAttribute.Unknown, NotKnown.Reason);
        }

        return unreadable.Count == 0 ? match : match with { Unreadable = unreadable.DrainToImmutable() };

        void Unreadable(MatchAttribute attribute, string reason)
        {
            unreadable.Add(new UnreadableEntry(attribute, reason));
            faults.Add(attribute is MatchAttribute.Unknown ? rule : $"{rule}.{attribute}", reason);
        }

        ImmutableArray<StringMatch> Texts(RepeatedField<Wire.StringMatch> entries, MatchAttribute attribute)
        {
            var texts = ImmutableArray.CreateBuilder<StringMatch>(entries.Count);
            foreach (var entry in entries)
            {
                switch (entry.MatchTypeCase)
                {
                    case Wire.StringMatch.MatchTypeOneofCase.Exact:
                        texts.Add(StringMatch.Exact(entry.Exact));
                        break;
                    case Wire.StringMatch.MatchTypeOneofCase.Prefix:
                        texts.Add(StringMatch.Prefix(entry.Prefix));
                        break;
                    case Wire.StringMatch.MatchTypeOneofCase.Suffix:
                        texts.Add(StringMatch.Suffix(entry.Suffix));
                        break;
                    case Wire.StringMatch.MatchTypeOneofCase.Presence:
                        texts.Add(StringMatch.Presence);
                        break;
                    default:
                        Unreadable(attribute, "has a string match of no known kind; allowed are exact, prefix, suffix and presence");
                        break;
                }
            }

            return texts.DrainToImmutable();
        }

        ImmutableArray<IPNetwork> Ranges(RepeatedField<Wire.Address> entries, MatchAttribute attribute)
        {
            var ranges = ImmutableArray.CreateBuilder<IPNetwork>(entries.Count);
            foreach (var entry in entries)
            {
                if (entry.Address_.Length is 4 or 16 && entry.Length <= entry.Address_.Length * 8)
                {
                    ranges.Add(AddressRange.Create(new IPAddress(entry.Address_.Span), (int)entry.Length));
                }
                else
                {
                    Unreadable(attribute, $"has a range of {entry.Address_.Length} octets and length {entry.Length}; allowed are 4 octets with 0 to 32, and 16 with 0 to 128");
                }
            }

            return ranges.DrainToImmutable();
        }

        ImmutableArray<int> Ports(RepeatedField<uint> entries, MatchAttribute attribute)
        {
            var ports = ImmutableArray.CreateBuilder<int>(entries.Count);
            foreach (var entry in entries)
            {
                if (entry <= IPEndPoint.MaxPort)
                {
                    ports.Add((int)entry);
                }
                else
                {
                    Unreadable(attribute, $"has the port {entry}; allowed are 0 to {IPEndPoint.MaxPort}");
                }
            }

            return ports.DrainToImmutable();
        }
    }
}
