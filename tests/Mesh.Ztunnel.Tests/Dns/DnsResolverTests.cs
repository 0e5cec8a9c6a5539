using Mesh.Core.Workloads;
using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

/// <summary>Deciding what a name means, without a network.</summary>
public sealed class DnsResolverTests
{
    private readonly DnsResolver _resolver = new(DnsMesh.Options, new Random(1));

    [Theory]
    [InlineData("a", "a.ns1.svc.cluster.local")]
    [InlineData("svc", "svc.ns1.svc.cluster.local")]
    [InlineData("a.b", "a.b.svc.cluster.local", "a.b.ns1.svc.cluster.local")]
    [InlineData("a.svc", "a.svc.svc.cluster.local", "a.svc.ns1.svc.cluster.local")]
    [InlineData("a.b.c", "a.b.c.svc.cluster.local")]
    [InlineData("a.b.svc", "a.b.svc.cluster.local", "a.b.svc.svc.cluster.local")]
    [InlineData("a.b.SVC", "a.b.SVC.cluster.local", "a.b.SVC.svc.cluster.local")]
    [InlineData("a.b.c.svc", "a.b.c.svc.cluster.local")]
    [InlineData("a.b.c.d")]
    [InlineData("a.b.svc.cluster")]
    [InlineData("a.b.c.d.svc")]
    [InlineData("a.b.svc.cluster.net")]
    public void A_Kubernetes_name_that_is_cut_short_is_completed(string name, params string[] expansions) =>
        Assert.Equal(expansions.Prepend(name), _resolver.AliasesOf(name, "ns1").Select(alias => alias.Name));

    [Fact]
    public void The_name_itself_goes_first_then_each_search_domain_is_taken_off_and_no_name_is_tried_twice()
    {
        DnsAlias[] expected =
        [
            new("a.b.ns1.svc.cluster.local", null),
            new("a.b", "a.b"),
            new("a.b.svc.cluster.local", "a.b"),
            new("a.b.ns1", "a.b.ns1"),
            new("a.b.ns1.svc", "a.b.ns1.svc"),
        ];
        var aliases = _resolver.AliasesOf("a.b.ns1.svc.cluster.local", "ns1").ToArray();
        Assert.Equal(expected, aliases);
    }

    [Fact]
    public void Configured_search_domains_go_in_place_of_those_of_the_namespace()
    {
        var resolver = new DnsResolver(new DnsProxyOptions { SearchDomains = ["corp.example.", "example"] }, new Random(1));
        Assert.Equal(
            [new("a.corp.example", null), new("a.corp.example.svc.cluster.local", null), new("a", "a"), new("a.ns1.svc.cluster.local", "a"), new("a.corp", "a.corp"), new("a.corp.svc.cluster.local", "a.corp"), new("a.corp.ns1.svc.cluster.local", "a.corp")],
            resolver.AliasesOf("a.corp.example", "ns1"));
        Assert.Equal(["corp.example", "corp", "corp.ns1.svc.cluster.local"], resolver.AliasesOf("corp.example", "ns1").Select(alias => alias.Name).Where(name => !name.StartsWith("corp.example.")));
    }

    [Theory]
    [InlineData("a", "a")]
    [InlineData("a.b", "a.b", "*.b")]
    [InlineData("a.b.c.d", "a.b.c.d", "*.b.c.d", "*.c.d", "*.d")]
    public void Wildcards_are_tried_from_the_longest_to_the_shortest(string name, params string[] names) =>
        Assert.Equal(names, DnsResolver.WithWildcards(name));

    [Theory]
    [MemberData(nameof(DnsLookups.All), MemberType = typeof(DnsLookups))]
    public void A_name_means_what_it_means(string name, string type, string expected)
    {
        var resolution = _resolver.Resolve(DnsMesh.Snapshot, DnsMesh.Client, Question(name, DnsLookups.TypeOf(type)));
        Assert.Equal(expected, resolution is DnsResolution.Local local ? Show(local.Answer) : "NXDOMAIN");
    }

    [Fact]
    public void The_client_is_told_by_its_own_namespace_and_network()
    {
        var other = DnsMesh.Client with { Namespace = "ns2", Network = "far" };
        Assert.Equal("10.96.0.4", ShowAddresses(DnsMesh.Client with { Namespace = "ns2" }, "private"));
        Assert.Equal("10.96.0.2", ShowAddresses(DnsMesh.Client with { Namespace = "ns2" }, "cart"));
        Assert.Equal("10.96.0.12", ShowAddresses(other, "both.ns1"));
        Assert.Equal("", ShowAddresses(other, "cart"));
        Assert.Equal("10.97.0.1", ShowAddresses(DnsMesh.Client with { Namespace = "ns2" }, "www.example.com.ns2.svc.cluster.local"));
        Assert.IsType<DnsResolution.Forward>(_resolver.Resolve(DnsMesh.Snapshot, other, Question("www.example.com.ns1.svc.cluster.local")));
    }

    [Fact]
    public void Without_IPv6_a_name_of_the_mesh_has_no_IPv6_address_and_is_still_known()
    {
        var resolver = new DnsResolver(new DnsProxyOptions { IPv6Enabled = false }, new Random(1));
        var local = Assert.IsType<DnsResolution.Local>(resolver.Resolve(DnsMesh.Snapshot, DnsMesh.Client, Question("dual", DnsRecordType.Aaaa)));
        Assert.Equal("aa NOERROR", Show(local.Answer));
        Assert.Equal("the service has no AAAA address for this client", local.Reason);
    }

    [Fact]
    public void Another_cluster_domain_is_the_domain()
    {
        var mesh = Mesh.Testing.TestMesh.Of(new Service { Name = "a", Namespace = "ns1", Hostname = "a.ns1.svc.corp.example", Vips = [Mesh.Testing.TestMesh.Address("10.96.0.1")] });
        var resolver = new DnsResolver(new DnsProxyOptions { ClusterDomain = "corp.example." }, new Random(1));
        Assert.IsType<DnsResolution.Local>(resolver.Resolve(mesh, DnsMesh.Client, Question("a")));
        Assert.IsType<DnsResolution.Local>(resolver.Resolve(mesh, DnsMesh.Client, Question("a.ns1.svc")));
        Assert.IsType<DnsResolution.Forward>(resolver.Resolve(mesh, DnsMesh.Client, Question("a.ns1.svc.cluster.local")));
    }

    [Fact]
    public void Records_hold_for_30_seconds_and_their_order_is_that_of_the_dice()
    {
        var orders = new HashSet<string>();
        for (var i = 0; i < 100; i++)
        {
            var local = Assert.IsType<DnsResolution.Local>(_resolver.Resolve(DnsMesh.Snapshot, DnsMesh.Client, Question("several")));
            Assert.All(local.Answer.Answers, record => Assert.Equal(30u, record.TimeToLive));
            orders.Add(string.Join(' ', local.Answer.Answers.Select(Show)));
        }

        Assert.Equal(6, orders.Count);
    }

    [Fact]
    public void A_question_of_another_class_or_with_a_name_that_is_no_host_name_is_forwarded()
    {
        Assert.IsType<DnsResolution.Forward>(_resolver.Resolve(DnsMesh.Snapshot, DnsMesh.Client, Question("cart") with { Class = 3 }));
        var odd = DnsName.FromWire([3, (byte)'a', (byte)'.', (byte)'b', 4, .. "wild"u8, 7, .. "example"u8, 0]);
        Assert.IsType<DnsResolution.Forward>(_resolver.Resolve(DnsMesh.Snapshot, DnsMesh.Client, new DnsQuestion(odd, DnsRecordType.A, DnsQuestion.Internet)));
    }

    [Fact]
    public void The_longest_name_there_is_is_decided_upon()
    {
        var longest = string.Join('.', Enumerable.Repeat("a", 112).Append("ns1.svc.cluster.local"));
        Assert.IsType<DnsResolution.Forward>(_resolver.Resolve(DnsMesh.Snapshot, DnsMesh.Client, Question(longest)));
    }

    private string ShowAddresses(Workload client, string name)
    {
        var local = Assert.IsType<DnsResolution.Local>(_resolver.Resolve(DnsMesh.Snapshot, client, Question(name)));
        return string.Join(' ', local.Answer.Answers.Where(record => record.Type is DnsRecordType.A).Select(record => Show(record).Split(' ')[^1]));
    }
}
