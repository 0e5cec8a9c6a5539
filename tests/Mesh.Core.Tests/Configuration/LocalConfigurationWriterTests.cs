using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Testing;

namespace Mesh.Core.Configuration;

/// <summary>What is written is read as the same mesh.</summary>
public sealed class LocalConfigurationWriterTests
{
    [Fact]
    public void A_file_looks_like_one_of_somebodys() => Assert.Equal(
        """
        workloads:
        - uid: c1//Pod/shop/cart
          name: cart
          namespace: shop
          serviceAccount: cart
          trustDomain: cluster.local
          workloadIps: [10.0.0.2]
          protocol: HBONE
          services:
            shop/cart.shop.svc.cluster.local: {}
        services:
        - name: cart
          namespace: shop
          hostname: cart.shop.svc.cluster.local
          vips: [/10.96.0.2]
          ports: {80: 8080}
        policies:
        - name: only-web
          namespace: shop
          scope: Namespace
          action: Allow
          rules:
          - - - principals: [!Exact cluster.local/ns/shop/sa/web, !Presence []]
              - destinationPorts: [8080]
            - []
          - []

        """,
        Write(new LocalConfiguration([TestMesh.Cart], [TestMesh.CartService], [new L4Authorization
        {
            Name = "only-web",
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Allow,
            Rules =
            [
                new AuthorizationRule(
                    new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Exact("cluster.local/ns/shop/sa/web"), StringMatch.Presence] }, new AuthorizationMatch { DestinationPorts = [8080] }),
                    new AuthorizationClause()),
                new AuthorizationRule(),
            ],
        }])));

    [Fact]
    public void A_file_with_every_field_is_the_same_when_it_is_read_and_written_again()
    {
        var configuration = LocalConfiguration.Parse(LocalConfigurationTests.Everything);
        Same(configuration, LocalConfiguration.Parse(Write(configuration)));
    }

    [Fact]
    public void An_empty_mesh_is_one() => Same(new LocalConfiguration([], [], []), LocalConfiguration.Parse(Write(new LocalConfiguration([], [], []))));

    [Fact]
    public void A_traffic_policy_is_written_too()
    {
        var policy = new L4TrafficPolicy
        {
            ConnectTimeout = TimeSpan.FromMilliseconds(1500),
            ConnectRetries = 2,
            MaxConnections = 3,
            ConnectionsPerSecond = 4,
            OutlierDetection = new OutlierDetection(5, TimeSpan.FromMinutes(1), 0),
        };
        var configuration = new LocalConfiguration([], [TestMesh.CartService with { TrafficPolicy = policy }], []);
        Assert.Equal(policy, LocalConfiguration.Parse(Write(configuration)).Services.Single().TrafficPolicy);
    }

    [Fact]
    public void A_snapshot_is_written_in_the_order_of_names() => Assert.Equal(
        ["c1//Pod/shop/cart", "c1//Pod/shop/waypoint", "c1//Pod/shop/web"],
        LocalConfiguration.Of(TestMesh.Of(TestMesh.Web, TestMesh.Waypoint, TestMesh.Cart)).Workloads.Select(workload => workload.Uid));

    [Theory]
    [InlineData(AuthorizationAction.Allow)]
    [InlineData(AuthorizationAction.Deny)]
    public void What_could_not_be_understood_is_written_such_that_it_decides_the_same(AuthorizationAction action)
    {
        var readable = new AuthorizationMatch { Namespaces = [StringMatch.Exact("bank")], DestinationPorts = [8080], NotSourceIps = [IPNetwork.Parse("192.0.2.0/24")] };
        foreach (var attribute in Enum.GetValues<MatchAttribute>())
        {
            foreach (var match in new[] { readable, new AuthorizationMatch() })
            {
                var policy = new L4Authorization
                {
                    Name = "p",
                    Namespace = "shop",
                    Scope = AuthorizationScope.Namespace,
                    Action = action,
                    Rules = [new AuthorizationRule(new AuthorizationClause(match with { Unreadable = [new UnreadableEntry(attribute, "new")] }))],
                };
                var read = LocalConfiguration.Parse(Write(new LocalConfiguration([], [], [policy]))).Policies.Single();
                foreach (var connection in
                    from ns in new[] { "shop", "bank" }
                    from port in new[] { 8080, 9090 }
                    from source in new[] { "10.0.0.1", "192.0.2.1" }
                    select new L4Connection(IPAddress.Parse(source), SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, ns, "web"), new IPEndPoint(IPAddress.Loopback, port)))
                {
                    Assert.Equal(
                        L4Authorizer.Authorize(L4PolicySet.Create(policy), "shop", [], connection).GetType(),
                        L4Authorizer.Authorize(L4PolicySet.Create(read), "shop", [], connection).GetType());
                }
            }
        }
    }

    [Fact]
    public void Any_mesh_is_read_as_it_was_written() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(Fuzz.Rounds(500)).WithReplay(new Replay(new Rnd(62_001, 4711), 20)), Prop.ForAll(Meshes.ToArbitrary(), mesh =>
            Same(mesh, LocalConfiguration.Parse(Write(mesh)))));

    // Texts that YAML or another reader of it would take for something else.
    private static Gen<string> Label => Gen.Elements("shop", "a b", "null", "~", "true", "80", "1e3", "0x10", "- x", "a: b", "a:", "#c", "'", "\"", "\\", "é\u2028", "\u0001", "{x}", "!tag", "&a", "*a", "%", "@", "`", "a\nb", " a ", "\u202e", "😀");

    private static Gen<string> MaybeLabel => Gen.OneOf(Gen.Constant(""), Label);

    private static Gen<string> Segment => Gen.Elements("shop", "bank", "null", "true", "80", "1.5", "-", "_");

    private static Gen<IPAddress> Address => Gen.Elements("10.0.0.1", "10.0.0.2", "2001:db8::1", "::1", "0.0.0.0").Select(IPAddress.Parse);

    private static Gen<IPNetwork> Range => Gen.Elements("10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "10.0.0.1/32", "::ffff:0.0.0.0/90").Select(text => AddressRange.TryParse(text, out var range) ? range : throw new FormatException(text));

    private static Gen<FrozenDictionary<int, int>> Ports =>
        from ports in Gen.Choose(1, 65535).ListOf().Resize(3)
        from target in Gen.Choose(0, 65535)
        select ports.Distinct().ToFrozenDictionary(port => port, _ => target);

    private static Gen<StringMatch> Comparison =>
        from kind in Gen.Elements(Enum.GetValues<StringMatchKind>())
        from text in MaybeLabel
        select kind switch { StringMatchKind.Exact => StringMatch.Exact(text), StringMatchKind.Prefix => StringMatch.Prefix(text), StringMatchKind.Suffix => StringMatch.Suffix(text), _ => StringMatch.Presence };

    private static Gen<AuthorizationMatch> Match =>
        from texts in Few(Comparison)
        from others in Few(Comparison)
        from ranges in Few(Range)
        from otherRanges in Few(Range)
        from ports in Few(Gen.Choose(0, 65535))
        from accounts in Few(MaybeLabel.Select(label => new ServiceAccountMatch(label, "web")))
        from swap in Gen.Elements(false, true)
        select swap
            ? new AuthorizationMatch { Namespaces = texts, NotPrincipals = others, SourceIps = ranges, NotDestinationIps = otherRanges, DestinationPorts = ports, NotServiceAccounts = accounts }
            : new AuthorizationMatch { NotNamespaces = texts, Principals = others, NotSourceIps = ranges, DestinationIps = otherRanges, NotDestinationPorts = ports, ServiceAccounts = accounts };

    private static Gen<L4Authorization> Policy(string name) =>
        from ns in Label
        from scope in Gen.Elements(Enum.GetValues<AuthorizationScope>())
        from action in Gen.Elements(Enum.GetValues<AuthorizationAction>())
        from dryRun in Gen.Elements(false, true)
        from rules in Few(Few(Few(Match).Select(matches => new AuthorizationClause(matches))).Select(clauses => new AuthorizationRule(clauses)))
        select new L4Authorization { Name = name, Namespace = ns, Scope = scope, Action = action, DryRun = dryRun, Rules = rules };

    private static Gen<Service> Service(string hostname) =>
        from name in Label
        from ns in Gen.Elements("shop", "bank", "null", "a b")
        from vips in Few(from network in MaybeLabel.Where(text => !text.Contains('/')) from address in Address select new NetworkAddress(network, address))
        from ranges in Few(from network in MaybeLabel from range in Range select new NetworkRange(network, range))
        from ports in Ports
        from names in Few(MaybeLabel)
        from mode in Gen.Elements(Enum.GetValues<LoadBalancingMode>())
        from preferences in Few(Gen.Elements(Enum.GetValues<RoutingScope>()))
        from health in Gen.Elements(Enum.GetValues<HealthPolicy>())
        from families in Gen.Elements(Enum.GetValues<IPFamilies>())
        from visibility in Gen.Elements(Enum.GetValues<ServiceVisibility>())
        from canonical in Gen.Elements(false, true)
        select new Service
        {
            Name = name,
            Namespace = ns,
            Hostname = hostname,
            Vips = vips,
            CidrVips = ranges,
            Ports = ports,
            SubjectAltNames = names,
            LoadBalancing = new LoadBalancing(mode, preferences, health),
            IPFamilies = families,
            Visibility = visibility,
            Canonical = canonical,
        };

    private static Gen<Workload> Workload(string uid, Service[] services, L4Authorization[] policies) =>
        from labels in MaybeLabel.ArrayOf(10)
        from ns in Segment
        from serviceAccount in Segment
        from trustDomain in Gen.Elements("cluster.local", "shop.example", "null")
        from addresses in Few(Address)
        from port in Gen.Choose(1, 65535)
        from capacity in Gen.Elements(0u, 1u, 7u, uint.MaxValue)
        from numbers in Gen.Choose(0, 3).ArrayOf(8)
        from ports in Ports
        let gateway = services.Length > 0 && numbers[0] > 0 ? new GatewayAddress(services[0].Key, port)
            : addresses.Length > 0 && numbers[1] > 0 && numbers[3] % 2 == 0 ? new GatewayAddress(new NetworkAddress(labels[0].Replace("/", "", StringComparison.Ordinal), addresses[0]), port) : null
        select new Workload
        {
            Uid = uid,
            Name = labels[1],
            Namespace = ns,
            ServiceAccount = serviceAccount,
            TrustDomain = TrustDomain.Parse(trustDomain),
            Addresses = addresses,
            Network = labels[0].Replace("/", "", StringComparison.Ordinal),
            Protocol = (TunnelProtocol)(numbers[2] % 2),
            NetworkMode = (NetworkMode)(numbers[3] % 2),
            Status = (WorkloadStatus)(numbers[4] % 2),
            WorkloadType = (WorkloadType)numbers[5],
            Waypoint = gateway,
            NetworkGateway = numbers[6] > 1 ? gateway : null,
            Node = labels[2],
            CanonicalName = labels[3],
            CanonicalRevision = labels[4],
            WorkloadName = labels[5],
            NativeTunnel = numbers[7] > 1,
            Hostname = labels[6],
            ClusterId = labels[7],
            Locality = new Locality(labels[8], labels[9], labels[2]),
            ApplicationTunnel = numbers[7] switch { 0 => null, 1 => new ApplicationTunnel(ApplicationTunnelProtocol.None, port), _ => new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, null) },
            Capacity = capacity,
            AuthorizationPolicies = [.. policies.Take(numbers[5]).Select(policy => policy.Key)],
            Services = services.Take(numbers[6]).DistinctBy(service => service.Key).ToImmutableDictionary(service => service.Key, _ => ports),
        };

    private static Gen<LocalConfiguration> Meshes =>
        from first in Service("cart.shop")
        from second in Service("a: b")
        from counts in Gen.Choose(0, 2).Two()
        from policies in Policy("p").Two()
        let services = new[] { first, second }.Take(counts.Item1).ToArray()
        let kept = new[] { policies.Item1, policies.Item2 with { Name = "null" } }.Take(counts.Item2).ToArray()
        from one in Workload("c1//Pod/shop/one", services, kept)
        from two in Workload("# two", services, kept)
        select new LocalConfiguration([one, two], [.. services], [.. kept]);

    private static Gen<ImmutableArray<T>> Few<T>(Gen<T> gen) => gen.ListOf().Resize(2).Select(list => list.ToImmutableArray());

    private static string Write(LocalConfiguration configuration)
    {
        using var output = new StringWriter();
        configuration.WriteTo(output);
        return output.ToString();
    }

    private static void Same(LocalConfiguration expected, LocalConfiguration actual)
    {
        Assert.Equal(expected.Workloads.Select(Plain), actual.Workloads.Select(Plain));
        Assert.Equal(expected.Workloads.Select(Lists), actual.Workloads.Select(Lists));
        Assert.Equal(expected.Services.Select(Plain), actual.Services.Select(Plain));
        Assert.Equal(expected.Services.Select(Lists), actual.Services.Select(Lists));
        Assert.Equal(expected.Policies.Select(policy => policy with { Rules = [] }), actual.Policies.Select(policy => policy with { Rules = [] }));
        Assert.Equal(expected.Policies.Select(Lists), actual.Policies.Select(Lists));
    }

    // Collections are equal by identity: they are compared as texts, and the rest by value.
    private static Workload Plain(Workload workload) =>
        workload with { Addresses = [], AuthorizationPolicies = [], Services = ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty };

    private static string Lists(Workload workload) =>
        $"{Text(workload.Addresses)} {Text(workload.AuthorizationPolicies)} {Text(workload.Services.OrderBy(pair => pair.Key.ToString(), StringComparer.Ordinal).Select(pair => $"{pair.Key} {TextOf(pair.Value)}"))}";

    private static Service Plain(Service service) => service with
    {
        Vips = [],
        CidrVips = [],
        Ports = FrozenDictionary<int, int>.Empty,
        SubjectAltNames = [],
        WeightedWaypoints = [],
        LoadBalancing = service.LoadBalancing with { RoutingPreferences = [] },
    };

    private static string Lists(Service service) =>
        $"{Text(service.Vips)} {Text(service.CidrVips)} {TextOf(service.Ports)} {Text(service.SubjectAltNames)} {Text(service.WeightedWaypoints)} {Text(service.LoadBalancing.RoutingPreferences)}";

    private static string Lists(L4Authorization policy) => Text(policy.Rules.Select(rule => Text(rule.Clauses.Select(clause => Text(clause.Matches.Select(Lists))))));

    private static string Lists(AuthorizationMatch match) =>
        $"{Kinds(match.Namespaces)} {Kinds(match.NotNamespaces)} {Kinds(match.Principals)} {Kinds(match.NotPrincipals)} {Text(match.SourceIps)} {Text(match.NotSourceIps)} {Text(match.DestinationIps)} {Text(match.NotDestinationIps)} {Text(match.DestinationPorts)} {Text(match.NotDestinationPorts)} {Text(match.ServiceAccounts)} {Text(match.NotServiceAccounts)}";

    private static string Kinds(ImmutableArray<StringMatch> matches) => Text(matches.Select(match => $"{match.Kind} {match.Value}"));

    private static string TextOf(FrozenDictionary<int, int> ports) => Text(ports.OrderBy(pair => pair.Key));

    private static string Text<T>(IEnumerable<T> items) => $"[{string.Join(" | ", items)}]";
}
