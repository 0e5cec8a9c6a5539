using System.Collections.Immutable;
using System.Net;

namespace Mesh.Core.Policy;

/// <summary>Which workloads an L4 authorization policy applies to (ztunnel §9.1).</summary>
public enum AuthorizationScope
{
    /// <summary>All workloads of the mesh.</summary>
    Global = 0,

    /// <summary>All workloads of the policy's namespace.</summary>
    Namespace = 1,

    /// <summary>The workloads that list the policy.</summary>
    WorkloadSelector = 2,
}

/// <summary>What an L4 authorization policy does with a connection that it matches.</summary>
public enum AuthorizationAction
{
    /// <summary>It is allowed; where any ALLOW policy applies, what none of them matches is denied.</summary>
    Allow = 0,

    /// <summary>It is denied, whatever ALLOW policies say.</summary>
    Deny = 1,
}

/// <summary>An L4 authorization policy as the control plane sends it: <c>istio.security.Authorization</c> (ztunnel §6.2, §9).</summary>
public sealed record L4Authorization
{
    /// <summary>The name within the namespace.</summary>
    public required string Name { get; init; }

    /// <summary>The Kubernetes namespace.</summary>
    public required string Namespace { get; init; }

    /// <summary>The key: <c>namespace/name</c>.</summary>
    public string Key => $"{Namespace}/{Name}";

    /// <summary>Which workloads it applies to.</summary>
    public required AuthorizationScope Scope { get; init; }

    /// <summary>What it does with a connection that it matches.</summary>
    public required AuthorizationAction Action { get; init; }

    /// <summary>The policy matches when any of these does; without rules it never matches.</summary>
    public ImmutableArray<AuthorizationRule> Rules { get; init; } = [];

    /// <summary>Whether its verdict is reported only, and enforced never.</summary>
    public bool DryRun { get; init; }
}

/// <summary>Part of a policy: matches when every clause does.</summary>
/// <param name="Clauses">The clauses; without any, the rule matches everything.</param>
public sealed record AuthorizationRule(params ImmutableArray<AuthorizationClause> Clauses);

/// <summary>Part of a rule: matches when any match does.</summary>
/// <param name="Matches">The matches; without any, the clause matches everything.</param>
public sealed record AuthorizationClause(params ImmutableArray<AuthorizationMatch> Matches);

/// <summary>The attributes that a match can name.</summary>
public enum MatchAttribute
{
    /// <summary>An attribute that this version does not know.</summary>
    Unknown = 0,

    /// <summary>The namespace of the source identity.</summary>
    Namespaces = 1,

    /// <summary>The negative of <see cref="Namespaces"/>.</summary>
    NotNamespaces = 2,

    /// <summary>The source identity without scheme.</summary>
    Principals = 3,

    /// <summary>The negative of <see cref="Principals"/>.</summary>
    NotPrincipals = 4,

    /// <summary>The source address.</summary>
    SourceIps = 5,

    /// <summary>The negative of <see cref="SourceIps"/>.</summary>
    NotSourceIps = 6,

    /// <summary>The destination address.</summary>
    DestinationIps = 7,

    /// <summary>The negative of <see cref="DestinationIps"/>.</summary>
    NotDestinationIps = 8,

    /// <summary>The destination port.</summary>
    DestinationPorts = 9,

    /// <summary>The negative of <see cref="DestinationPorts"/>.</summary>
    NotDestinationPorts = 10,

    /// <summary>Namespace and service account of the source identity.</summary>
    ServiceAccounts = 11,

    /// <summary>The negative of <see cref="ServiceAccounts"/>.</summary>
    NotServiceAccounts = 12,
}

/// <summary>Conditions on a connection; all must hold. Within a positive list any entry suffices, within a negative one none may match.</summary>
/// <remarks>A match with every list empty never matches (ztunnel §9.3).</remarks>
public sealed record AuthorizationMatch
{
    /// <summary>Namespaces of the source identity; a source without one has the namespace "".</summary>
    public ImmutableArray<StringMatch> Namespaces { get; init; } = [];

    /// <summary>Namespaces that the source must not be of.</summary>
    public ImmutableArray<StringMatch> NotNamespaces { get; init; } = [];

    /// <summary>Source identities without scheme: <c>cluster.local/ns/shop/sa/web</c>. A source without identity matches none.</summary>
    public ImmutableArray<StringMatch> Principals { get; init; } = [];

    /// <summary>Source identities that the source must not have.</summary>
    public ImmutableArray<StringMatch> NotPrincipals { get; init; } = [];

    /// <summary>Ranges of the source address.</summary>
    public ImmutableArray<IPNetwork> SourceIps { get; init; } = [];

    /// <summary>Ranges that the source address must not be in.</summary>
    public ImmutableArray<IPNetwork> NotSourceIps { get; init; } = [];

    /// <summary>Ranges of the destination address, after any translation.</summary>
    public ImmutableArray<IPNetwork> DestinationIps { get; init; } = [];

    /// <summary>Ranges that the destination address must not be in.</summary>
    public ImmutableArray<IPNetwork> NotDestinationIps { get; init; } = [];

    /// <summary>Destination ports, after any translation.</summary>
    public ImmutableArray<int> DestinationPorts { get; init; } = [];

    /// <summary>Ports that the destination must not have.</summary>
    public ImmutableArray<int> NotDestinationPorts { get; init; } = [];

    /// <summary>Namespace and service account of the source identity, of any trust domain.</summary>
    public ImmutableArray<ServiceAccountMatch> ServiceAccounts { get; init; } = [];

    /// <summary>Service accounts that the source must not have.</summary>
    public ImmutableArray<ServiceAccountMatch> NotServiceAccounts { get; init; } = [];

    /// <summary>Entries that could not be understood. In ALLOW they make the match never match; in DENY their attribute counts as matched.</summary>
    public ImmutableArray<UnreadableEntry> Unreadable { get; init; } = [];

    /// <summary>Whether no list has an entry.</summary>
    public bool IsEmpty =>
        Namespaces.IsEmpty && NotNamespaces.IsEmpty && Principals.IsEmpty && NotPrincipals.IsEmpty
        && SourceIps.IsEmpty && NotSourceIps.IsEmpty && DestinationIps.IsEmpty && NotDestinationIps.IsEmpty
        && DestinationPorts.IsEmpty && NotDestinationPorts.IsEmpty && ServiceAccounts.IsEmpty && NotServiceAccounts.IsEmpty
        && Unreadable.IsEmpty;
}

/// <summary>A namespace and a service account; both must be equal.</summary>
/// <param name="Namespace">The Kubernetes namespace.</param>
/// <param name="ServiceAccount">The Kubernetes service account.</param>
public readonly record struct ServiceAccountMatch(string Namespace, string ServiceAccount)
{
    /// <summary><c>namespace/serviceAccount</c>.</summary>
    public override string ToString() => $"{Namespace}/{ServiceAccount}";
}

/// <summary>An entry of a match that could not be understood.</summary>
/// <param name="Attribute">The list that it stood in.</param>
/// <param name="Reason">What is wrong with it.</param>
public sealed record UnreadableEntry(MatchAttribute Attribute, string Reason);
