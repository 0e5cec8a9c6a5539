using System.Collections.Immutable;
using System.Net;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Core.Identity;
using Xunit.Abstractions;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>The indexed engine against one that is too simple to be wrong.</summary>
public sealed class L4AuthorizerProperties(ITestOutputHelper output)
{
    private const ulong Seed = 20260101;
    private const ulong Gamma = 4711;

    private static readonly string[] Keys = [.. from ns in new[] { "shop", "bank", "istio-system" } from name in "abc" select $"{ns}/{name}"];

    [Fact]
    public void The_engine_agrees_with_a_plain_reading_of_the_specification() => CheckThat(3000, Prop.ForAll(Cases, Agrees));

    [Fact]
    public void A_set_that_grew_by_changes_decides_as_one_made_at_once() => CheckThat(500, Prop.ForAll(
        (from changes in Policy.ListOf().Resize(12)
         from removals in Gen.Elements(Keys).ListOf().Resize(6)
         from connections in Connection.ArrayOf(6)
         select (Changes: changes.ToArray(), Removals: removals.ToArray(), Connections: connections)).ToArbitrary(),
        edit =>
        {
            var grown = L4PolicySet.Empty;
            var plain = new Dictionary<string, L4Authorization>();
            for (var i = 0; i < edit.Changes.Length; i++)
            {
                var removal = i < edit.Removals.Length ? edit.Removals[i] : "shop/none";
                plain.Remove(removal);
                plain[edit.Changes[i].Key] = edit.Changes[i];
                grown = grown.With([edit.Changes[i]], [removal]);
            }

            var made = L4PolicySet.Create(plain.Values.Reverse());
            Assert.Equal(plain.Values.OrderBy(policy => policy.Key), grown.Policies.OrderBy(policy => policy.Key));
            foreach (var connection in edit.Connections)
            {
                Assert.Equal(Describe(made.Decide(connection, [.. Keys])), Describe(grown.Decide(connection, [.. Keys])));
            }
        }));

    private static Gen<string> NamespaceText => Gen.Elements("shop", "bank", "sh*", "*k", "*", "");

    private static Gen<string> PrincipalText => Gen.Elements(
        "cluster.local/ns/shop/sa/web", "bank.example/ns/bank/sa/teller", "cluster.local/*", "*/web", "*", "");

    private static Gen<string> RangeText => Gen.Elements("10.0.0.0/8", "10.0.0.9/32", "192.0.2.0/24", "::/0", "2001:db8::/32");

    private static Gen<AuthorizationMatch> Condition =>
        from attribute in Gen.Elements(Enum.GetValues<MatchAttribute>())
        from unreadable in Gen.Frequency((9, Gen.Constant(false)), (1, Gen.Constant(true)))
        from count in Gen.Choose(1, 3)
        from entries in Entry(attribute).ListOf(count)
        select unreadable || attribute is MatchAttribute.Unknown ? Unreadable(attribute) : Is(attribute, entries);

    private static Gen<AuthorizationMatch> Match => from conditions in UpTo(3, Condition) select All([.. conditions]);

    private static Gen<AuthorizationRule> Rule =>
        from clauses in UpTo(2, from matches in UpTo(2, Match) select new AuthorizationClause([.. matches]))
        select new AuthorizationRule([.. clauses]);

    private static Gen<L4Authorization> Policy =>
        from key in Gen.Elements(Keys)
        from scope in Gen.Elements(Enum.GetValues<AuthorizationScope>())
        from deny in Gen.Elements(true, false)
        from dryRun in Gen.Frequency((4, Gen.Constant(false)), (1, Gen.Constant(true)))
        from rules in UpTo(3, Rule)
        select (deny ? Deny(key, [.. rules]) : Allow(key, [.. rules])) with { Scope = scope, DryRun = dryRun };

    private static Gen<L4Connection> Connection =>
        from identity in Gen.Elements(null, Web, Teller, SpiffeId.Parse("spiffe://cluster.local/ns/bank/sa/web"), SpiffeId.Parse("spiffe://cluster.local/gateway"))
        from source in Gen.Elements("10.0.0.9", "10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::1")
        from destination in Gen.Elements("10.0.0.9", "2001:db8::9", "192.0.2.9")
        from port in Gen.Elements(80, 8080, 9090)
        select From(identity, source, destination, port);

    private static Arbitrary<Case> Cases => Arb.From(
        from policies in UpTo(6, Policy)
        from listed in Gen.Elements(Keys).ListOf().Resize(3)
        from connections in Connection.ArrayOf(8)
        select new Case([.. policies.DistinctBy(policy => policy.Key)], [.. listed], [.. connections]),
        Smaller);

    private static Gen<string> Entry(MatchAttribute attribute) => attribute switch
    {
        MatchAttribute.Namespaces or MatchAttribute.NotNamespaces => NamespaceText,
        MatchAttribute.Principals or MatchAttribute.NotPrincipals => PrincipalText,
        MatchAttribute.DestinationPorts or MatchAttribute.NotDestinationPorts => Gen.Elements("80", "8080", "9090"),
        MatchAttribute.ServiceAccounts or MatchAttribute.NotServiceAccounts => Gen.Elements("shop/web", "bank/teller", "bank/web"),
        _ => RangeText,
    };

    private static Gen<IEnumerable<T>> UpTo<T>(int count, Gen<T> item) =>
        from length in Gen.Choose(0, count)
        from items in item.ListOf(length)
        select items.AsEnumerable();

    private static IEnumerable<Case> Smaller(Case failed) =>
    [
        .. failed.Connections.Select(connection => failed with { Connections = [connection] }).Where(_ => failed.Connections.Length > 1),
        .. failed.Policies.Select(policy => failed with { Policies = failed.Policies.Remove(policy) }),
        .. failed.Listed.Select(key => failed with { Listed = failed.Listed.Remove(key) }),
        .. failed.Policies.SelectMany(policy => policy.Rules.Select(rule =>
            failed with { Policies = failed.Policies.Replace(policy, policy with { Rules = policy.Rules.Remove(rule) }) })),
    ];

    private static void Agrees(Case example)
    {
        var policies = L4PolicySet.Create(example.Policies);
        foreach (var connection in example.Connections)
        {
            var decision = policies.Decide(connection, example.Listed);
            var expected = PlainReading.Decide(example.Policies, "shop", example.Listed, connection);
            Assert.Equal(expected, (decision is L4Decision.Allowed, !decision.DryRun.IsEmpty));
        }
    }

    private static string Describe(L4Decision decision) =>
        $"{decision.GetType().Name} {decision.Policy} {decision.Rule} {decision.Reason} {string.Join(';', decision.DryRun)} {string.Join(';', (decision as L4Decision.Denied)?.Remedies ?? [])}";

    private void CheckThat(int cases, Property property)
    {
        output.WriteLine($"seed ({Seed}, {Gamma}), {cases} cases");
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(cases).WithReplay(Seed, Gamma), property);
    }

    private sealed record Case(ImmutableArray<L4Authorization> Policies, ImmutableArray<string> Listed, ImmutableArray<L4Connection> Connections)
    {
        public override string ToString() => string.Join('\n', [.. Policies.Select(Words), $"listed: {string.Join(", ", Listed)}", .. Connections.Select(one => one.ToString())]);

        private static string Words(L4Authorization policy) =>
            $"{policy.Action} {policy.Key} {policy.Scope}{(policy.DryRun ? " dry-run" : "")}: {string.Join(" | ", policy.Rules.Select(PolicyText.Rule))}";
    }

    /// <summary>ztunnel §9, line by line.</summary>
    private static class PlainReading
    {
        public static (bool Allowed, bool Notes) Decide(ImmutableArray<L4Authorization> policies, string ns, ImmutableArray<string> listed, L4Connection connection)
        {
            // §9.1.
            var applicable = policies.Where(policy => policy.Scope is AuthorizationScope.Global
                || (policy.Scope is AuthorizationScope.Namespace && policy.Namespace == ns)
                || listed.Contains(policy.Key)).ToList();
            var deny = applicable.Where(policy => policy is { Action: AuthorizationAction.Deny, DryRun: false });
            var allow = applicable.Where(policy => policy is { Action: AuthorizationAction.Allow, DryRun: false }).ToList();
            var dryDeny = applicable.Where(policy => policy is { Action: AuthorizationAction.Deny, DryRun: true });
            var dryAllow = applicable.Where(policy => policy is { Action: AuthorizationAction.Allow, DryRun: true }).ToList();

            // §9.2.
            var notes = dryDeny.Any(policy => Matches(policy, connection))
                || dryAllow.Any(policy => Matches(policy, connection))
                || (allow.Count == 0 && dryAllow.Count > 0);
            var allowed = !deny.Any(policy => Matches(policy, connection))
                && (allow.Count == 0 || allow.Any(policy => Matches(policy, connection)));
            return (allowed, notes);
        }

        // §9.3.
        private static bool Matches(L4Authorization policy, L4Connection connection) =>
            policy.Rules.Any(rule => rule.Clauses.All(clause =>
                clause.Matches.IsEmpty || clause.Matches.Any(match => Matches(match, policy.Action, connection))));

        private static bool Matches(AuthorizationMatch match, AuthorizationAction action, L4Connection connection)
        {
            var entries = match.Namespaces.Length + match.NotNamespaces.Length + match.Principals.Length + match.NotPrincipals.Length
                + match.SourceIps.Length + match.NotSourceIps.Length + match.DestinationIps.Length + match.NotDestinationIps.Length
                + match.DestinationPorts.Length + match.NotDestinationPorts.Length + match.ServiceAccounts.Length + match.NotServiceAccounts.Length;
            if (entries + match.Unreadable.Length == 0)
            {
                return false;
            }

            if (action is AuthorizationAction.Allow && !match.Unreadable.IsEmpty)
            {
                return false;
            }

            var identity = connection.SourceIdentity?.ToString()["spiffe://".Length..];
            var ns = connection.SourceIdentity?.Namespace ?? "";
            return Holds(MatchAttribute.Namespaces, match.Namespaces, one => TextMatches(one, ns))
                && HoldsNot(MatchAttribute.NotNamespaces, match.NotNamespaces, one => TextMatches(one, ns))
                && Holds(MatchAttribute.Principals, match.Principals, one => identity is not null && TextMatches(one, identity))
                && HoldsNot(MatchAttribute.NotPrincipals, match.NotPrincipals, one => identity is not null && TextMatches(one, identity))
                && Holds(MatchAttribute.SourceIps, match.SourceIps, one => Contains(one, connection.Source))
                && HoldsNot(MatchAttribute.NotSourceIps, match.NotSourceIps, one => Contains(one, connection.Source))
                && Holds(MatchAttribute.DestinationIps, match.DestinationIps, one => Contains(one, connection.Destination.Address))
                && HoldsNot(MatchAttribute.NotDestinationIps, match.NotDestinationIps, one => Contains(one, connection.Destination.Address))
                && Holds(MatchAttribute.DestinationPorts, match.DestinationPorts, one => one == connection.Destination.Port)
                && HoldsNot(MatchAttribute.NotDestinationPorts, match.NotDestinationPorts, one => one == connection.Destination.Port)
                && Holds(MatchAttribute.ServiceAccounts, match.ServiceAccounts, IsAccount)
                && HoldsNot(MatchAttribute.NotServiceAccounts, match.NotServiceAccounts, IsAccount);

            bool Assumed(MatchAttribute attribute) => match.Unreadable.Any(entry => entry.Attribute == attribute);

            bool Holds<T>(MatchAttribute attribute, ImmutableArray<T> list, Func<T, bool> matches) =>
                Assumed(attribute) || list.IsEmpty || list.Any(matches);

            bool HoldsNot<T>(MatchAttribute attribute, ImmutableArray<T> list, Func<T, bool> matches) => Assumed(attribute) || !list.Any(matches);

            bool IsAccount(ServiceAccountMatch account) => identity is not null && identity.EndsWith($"/ns/{account.Namespace}/sa/{account.ServiceAccount}");
        }

        private static bool TextMatches(StringMatch match, string text) => match.Kind switch
        {
            StringMatchKind.Exact => text == match.Value,
            StringMatchKind.Prefix => text.StartsWith(match.Value, StringComparison.Ordinal),
            StringMatchKind.Suffix => text.EndsWith(match.Value, StringComparison.Ordinal),
            _ => text.Length > 0,
        };

        private static bool Contains(IPNetwork range, IPAddress address)
        {
            var left = range.BaseAddress.GetAddressBytes();
            var right = (address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address).GetAddressBytes();
            return left.Length == right.Length
                && Enumerable.Range(0, range.PrefixLength).All(bit => ((left[bit / 8] ^ right[bit / 8]) & (0x80 >> (bit % 8))) == 0);
        }
    }
}
