using System.Net;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Xds.Client;
using Address = Mesh.Xds.Protos.Security.Address;
using Wire = Mesh.Xds.Protos.Security;

namespace Mesh.Xds.Workloads;

/// <summary>Every field of <c>istio.security.Authorization</c> (ztunnel §6.2); and what cannot be read opens nothing and closes what it may have closed.</summary>
public sealed class AuthorizationReaderTests
{
    // The number of a field that no version has.
    private const int UnknownField = 500;

    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly L4Connection FromWeb = new(IPAddress.Parse("10.0.0.1"), Web, new IPEndPoint(IPAddress.Parse("10.0.0.2"), 8080));

    // Faults are those of the wire, by name: what a match has that cannot be read.
    private static readonly Dictionary<string, Action<Wire.Match>> Unreadable = new()
    {
        ["Namespaces has a string match of no known kind; allowed are exact, prefix, suffix and presence"] = match => match.Namespaces.Add(new Wire.StringMatch()),
        ["NotNamespaces has a string match of no known kind"] = match => match.NotNamespaces.Add(new Wire.StringMatch()),
        ["Principals has a string match of no known kind"] = match => match.Principals.Add(WithUnknownField(new Wire.StringMatch())),
        ["NotPrincipals has a string match of no known kind"] = match => match.NotPrincipals.Add(WithUnknownField(new Wire.StringMatch())),
        ["SourceIps has a range of 5 octets and length 8; allowed are 4 octets with 0 to 32, and 16 with 0 to 128"] = match => match.SourceIps.Add(new Address { Address_ = ByteString.CopyFrom(new byte[5]), Length = 8 }),
        ["NotSourceIps has a range of 4 octets and length 33"] = match => match.NotSourceIps.Add(Wires.Range("10.0.0.1", 33)),
        ["DestinationIps has a range of 16 octets and length 129"] = match => match.DestinationIps.Add(Wires.Range("::1", 129)),
        ["NotDestinationIps has a range of 0 octets and length 0"] = match => match.NotDestinationIps.Add(new Address()),
        ["DestinationPorts has the port 65536; allowed are 0 to 65535"] = match => match.DestinationPorts.Add(65536),
        ["NotDestinationPorts has the port 4294967295"] = match => match.NotDestinationPorts.Add(uint.MaxValue),
        ["has the extension 'x', which is not known"] = match => match.Extensions.Add(new Protos.Extension { Name = "x", Config = Any.Pack(new Empty()) }),
        ["has an attribute that is not known"] = match => match.MergeFrom(UnknownOctets()),
        ["rules[0] has an attribute that is not known"] = match => match.ServiceAccounts.Add(WithUnknownField(new Wire.ServiceAccountMatch { Namespace = "shop", ServiceAccount = "web" })),
    };

    public static TheoryData<string> UnreadableNames => [.. Unreadable.Keys];

    [Fact]
    public void Every_field_of_a_policy_is_read()
    {
        var wire = Wires.Policy(Wire.Action.Allow, Wires.WholeMatch());
        (wire.Scope, wire.DryRun) = (Wire.Scope.WorkloadSelector, true);
        var (policy, fault, isReadable) = Read(wire);

        Assert.Equal((null, true), (fault, isReadable));
        Assert.Equal(("p", "shop", "shop/p"), (policy.Name, policy.Namespace, policy.Key));
        Assert.Equal((AuthorizationScope.WorkloadSelector, AuthorizationAction.Allow, true), (policy.Scope, policy.Action, policy.DryRun));
        var match = Assert.Single(Assert.Single(Assert.Single(policy.Rules).Clauses).Matches);
        Same([StringMatch.Exact("shop"), StringMatch.Prefix("sh"), StringMatch.Suffix("op"), StringMatch.Presence], match.Namespaces);
        Same([StringMatch.Exact("bank")], match.NotNamespaces);
        Same([StringMatch.Exact("cluster.local/ns/shop/sa/web")], match.Principals);
        Same([StringMatch.Exact("cluster.local/ns/shop/sa/cart")], match.NotPrincipals);
        Same([IPNetwork.Parse("10.0.0.0/8"), IPNetwork.Parse("2001:db8::/32")], match.SourceIps);
        Same([IPNetwork.Parse("10.9.0.0/16")], match.NotSourceIps);
        Same([IPNetwork.Parse("10.0.0.2/32")], match.DestinationIps);
        Same([IPNetwork.Parse("10.0.0.3/32")], match.NotDestinationIps);
        Same([8080, 8443], match.DestinationPorts);
        Same([9090], match.NotDestinationPorts);
        Same([new ServiceAccountMatch("shop", "web")], match.ServiceAccounts);
        Same([new ServiceAccountMatch("shop", "cart")], match.NotServiceAccounts);
        Assert.Empty(match.Unreadable);
        Assert.IsType<L4Decision.Allowed>(Decide(policy with { Scope = AuthorizationScope.Namespace, DryRun = false }));
    }

    [Theory]
    [InlineData(0, AuthorizationScope.Global)]
    [InlineData(1, AuthorizationScope.Namespace)]
    [InlineData(2, AuthorizationScope.WorkloadSelector)]
    public void Every_scope_is_known(int wire, AuthorizationScope expected)
    {
        var policy = Wires.Policy(Wire.Action.Deny);
        policy.Scope = (Wire.Scope)wire;
        Assert.Equal((expected, null), (Read(policy).Policy.Scope, Read(policy).Fault));
    }

    [Fact]
    public void Empty_shapes_mean_what_they_mean_in_the_engine()
    {
        var policy = Wires.Policy(Wire.Action.Deny);
        policy.Rules.Clear();
        Assert.IsType<L4Decision.Allowed>(Decide(Read(policy).Policy));
        policy.Rules.Add(new Wire.Rule());
        Assert.IsType<L4Decision.Denied>(Decide(Read(policy).Policy));
        Assert.IsType<L4Decision.Allowed>(Decide(Read(Wires.Policy(Wire.Action.Deny, new Wire.Match())).Policy));
    }

    [Theory]
    [MemberData(nameof(UnreadableNames))]
    public void What_cannot_be_read_never_lets_an_allow_policy_match(string fault)
    {
        var policy = Read(Wires.Policy(Wire.Action.Allow, Damaged(fault)));

        Assert.Contains(fault, policy.Fault, StringComparison.Ordinal);
        Assert.StartsWith("rules[0]", policy.Fault, StringComparison.Ordinal);
        Assert.True(policy.IsReadable);
        Assert.IsType<L4Decision.Denied>(Decide(policy.Policy));

        // What can be read of the others is as good as ever.
        Assert.IsType<L4Decision.Allowed>(Decide(Read(Wires.Policy(Wire.Action.Allow, Damaged(fault), Wires.WholeMatch())).Policy));
    }

    [Theory]
    [MemberData(nameof(UnreadableNames))]
    public void What_cannot_be_read_counts_as_matched_in_a_deny_policy(string fault)
    {
        var alone = new Wire.Match();
        Unreadable[fault](alone);
        Assert.IsType<L4Decision.Denied>(Decide(Read(Wires.Policy(Wire.Action.Deny, alone)).Policy));
        Assert.IsType<L4Decision.Denied>(Decide(Read(Wires.Policy(Wire.Action.Deny, Damaged(fault))).Policy));
    }

    [Theory]
    [InlineData(Wire.Action.Allow)]
    [InlineData(Wire.Action.Deny)]
    public void A_rule_with_a_field_that_is_not_known_fails_closed(object action)
    {
        var policy = Wires.Policy((Wire.Action)action, Wires.WholeMatch());
        policy.Rules[0].MergeFrom(UnknownOctets());

        Assert.Equal("rules[0] has an attribute that is not known", Read(policy).Fault);
        Assert.IsType<L4Decision.Denied>(Decide(Read(policy).Policy));
    }

    [Theory]
    [InlineData(Wire.Action.Allow, "shop")]
    [InlineData(Wire.Action.Deny, "bank")]
    public void A_clause_with_a_field_that_is_not_known_fails_closed(object action, string fromNamespace)
    {
        // In DENY it may be one match more, which a connection that the others do not match may match.
        var policy = Wires.Policy((Wire.Action)action, new Wire.Match { Namespaces = { Wires.Exact(fromNamespace) } });
        policy.Rules[0].Clauses[0].MergeFrom(UnknownOctets());

        Assert.Equal("rules[0] has an attribute that is not known", Read(policy).Fault);
        Assert.IsType<L4Decision.Denied>(Decide(Read(policy).Policy));
    }

    [Fact]
    public void An_action_that_is_not_known_is_read_as_deny()
    {
        var policy = Read(Wires.Policy((Wire.Action)2, Wires.WholeMatch()));
        Assert.Equal("action is 2; allowed are ALLOW (0) and DENY (1)", policy.Fault);
        Assert.IsType<L4Decision.Denied>(Decide(policy.Policy));
    }

    [Fact]
    public void A_scope_that_is_not_known_is_read_as_that_of_the_namespace()
    {
        var wire = Wires.Policy(Wire.Action.Deny, Wires.WholeMatch());
        wire.Scope = (Wire.Scope)3;
        var policy = Read(wire);
        Assert.Equal("scope is 3; allowed are GLOBAL (0), NAMESPACE (1) and WORKLOAD_SELECTOR (2)", policy.Fault);
        Assert.IsType<L4Decision.Denied>(Decide(policy.Policy));
    }

    [Theory]
    [InlineData("FFFF")]
    [InlineData("0A02")]
    [InlineData("")]
    [InlineData("1204" + "73686F70")]
    public void What_is_no_policy_denies_the_namespace_of_its_name(string hex)
    {
        var policy = AuthorizationReader.Read("shop/p", Convert.FromHexString(hex));

        Assert.False(policy.IsReadable);
        Assert.NotNull(policy.Fault);
        Assert.Equal("shop/p", policy.Policy.Key);
        Assert.IsType<L4Decision.Denied>(Decide(policy.Policy));
        Assert.IsType<L4Decision.Allowed>(Decide(policy.Policy, "bank"));
    }

    [Theory]
    [InlineData("istio-system/p")]
    [InlineData("p")]
    public void What_is_no_policy_where_those_of_the_mesh_come_from_denies_everywhere(string name) =>
        Assert.IsType<L4Decision.Denied>(Decide(AuthorizationReader.Read(name, [0xFF]).Policy, "bank"));

    [Fact]
    public void What_is_no_policy_any_more_leaves_the_last_good_one()
    {
        var state = new MeshState();
        var resources = new MeshResources(state);
        Apply(Read(Wires.Policy(Wire.Action.Allow, Wires.WholeMatch())));
        Assert.IsType<L4Decision.Allowed>(Decide());

        var update = Apply(AuthorizationReader.Read("shop/p", [0xFF]));
        Assert.IsType<L4Decision.Allowed>(Decide());
        Assert.False(update.HadEffect("shop/p"));
        Assert.StartsWith("it is no authorization policy: ", Assert.Single(update.Refused).Reason);

        // One that can be read in part takes its place, and the server is told.
        update = Apply(Read(Wires.Policy(Wire.Action.Allow, Damaged("has an attribute that is not known"))));
        Assert.IsType<L4Decision.Denied>(Decide());
        Assert.True(update.HadEffect("shop/p"));
        Assert.True(update.IsReported("shop/p"));

        L4Decision Decide() => L4Authorizer.Authorize(state.Current.Policies, "shop", [], FromWeb);

        XdsUpdate<MeshAuthorization> Apply(MeshAuthorization policy)
        {
            var change = new XdsUpdate<MeshAuthorization>([new XdsResource<MeshAuthorization>("shop/p", "", policy, [], IsNew: true)], []);
            resources.Apply(change);
            return change;
        }
    }

    [Fact]
    public void Fields_that_are_not_known_and_say_nothing_of_matching_are_passed_over()
    {
        var wire = Wires.Policy(Wire.Action.Allow, Wires.WholeMatch());
        wire.MergeFrom(UnknownOctets());
        Assert.Null(Read(wire).Fault);
        Assert.IsType<L4Decision.Allowed>(Decide(Read(wire).Policy));
    }

    private static MeshAuthorization Read(Wire.Authorization wire) => AuthorizationReader.Read($"{wire.Namespace}/{wire.Name}", wire.ToByteArray());

    private static Wire.Match Damaged(string fault)
    {
        var match = Wires.WholeMatch();
        Unreadable[fault](match);
        return match;
    }

    private static byte[] UnknownOctets()
    {
        using var octets = new MemoryStream();
        using (var output = new CodedOutputStream(octets))
        {
            output.WriteTag(UnknownField, WireFormat.WireType.LengthDelimited);
            output.WriteString("what is new");
        }

        return octets.ToArray();
    }

    private static T WithUnknownField<T>(T message)
        where T : IMessage
    {
        message.MergeFrom(UnknownOctets());
        return message;
    }

    private static L4Decision Decide(L4Authorization policy, string destinationNamespace = "shop")
    {
        var state = new MeshState();
        state.Replace([TestMesh.Web], [], [policy]);
        return L4Authorizer.Authorize(state.Current.Policies, destinationNamespace, [], FromWeb);
    }

    // Immutable arrays are equal by identity; what they hold is compared here.
    private static void Same<T>(IEnumerable<T> expected, IEnumerable<T> actual) => Assert.Equal(expected, actual);
}
