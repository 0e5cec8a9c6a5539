using System.Net;
using static Mesh.Core.Workloads.LoadBalancingMode;
using static Mesh.Core.Workloads.Meshes;
using static Mesh.Core.Workloads.RoutingScope;

namespace Mesh.Core.Workloads;

public sealed class EndpointSelectorTests
{
    private const int Seed = 4711;

    private static readonly Workload Client = Pod("client", "10.0.0.100") with { Locality = new Locality("eu", "eu-1", "a"), Node = "n1", Network = "here" };

    private static readonly Workload Near = At("near", "eu", "eu-1", "n1");
    private static readonly Workload SameZone = At("zone", "eu", "eu-1", "n2");
    private static readonly Workload SameRegion = At("region", "eu", "eu-2", "n3");
    private static readonly Workload Far = At("far", "us", "us-1", "n4");
    private static readonly Workload OtherNetwork = At("other-network", "eu", "eu-1", "n1") with { Network = "there" };

    [Fact]
    public void A_port_that_the_service_does_not_have_has_no_endpoint() => Assert.Null(Select(Cart((80, 8080)), 81, Near));

    [Fact]
    public void A_service_without_endpoints_has_none() => Assert.Null(Select(Cart((80, 8080)), 80));

    [Theory]
    [InlineData(Standard)]
    [InlineData(Passthrough)]
    public void Without_preferences_in_force_all_endpoints_are_chosen_from(LoadBalancingMode mode) =>
        Assert.Equal(["far", "near"], Chosen(Cart((80, 8080)).Balanced(mode, Region), Near, Far));

    [Fact]
    public void Failover_chooses_among_those_that_match_best() =>
        Assert.Equal(["near", "zone"], Chosen(Cart((80, 8080)).Balanced(Failover, Region, Zone), Near, SameZone, SameRegion, Far));

    [Fact]
    public void Failover_goes_on_to_the_next_best() =>
        Assert.Equal(["region"], Chosen(Cart((80, 8080)).Balanced(Failover, Region, Zone), SameRegion, Far));

    [Fact]
    public void Failover_chooses_one_that_matches_nothing_when_there_is_no_other() =>
        Assert.Equal(["far"], Chosen(Cart((80, 8080)).Balanced(Failover, Region, Zone), Far));

    [Fact]
    public void A_preference_after_one_that_does_not_match_does_not_count()
    {
        var sameZoneNameElsewhere = At("elsewhere", "us", "eu-1", "n9");
        Assert.Equal(["elsewhere", "far"], Chosen(Cart((80, 8080)).Balanced(Failover, Region, Zone), Far, sameZoneNameElsewhere));
    }

    [Fact]
    public void Any_endpoint_of_the_own_network_goes_before_all_others() =>
        Assert.Equal(["far"], Chosen(Cart((80, 8080)).Balanced(Failover, Network, Region, Zone), Far, OtherNetwork));

    [Fact]
    public void Among_endpoints_of_other_networks_the_other_preferences_count()
    {
        var farNetwork = Far with { Network = "there" };
        Assert.Equal(["other-network"], Chosen(Cart((80, 8080)).Balanced(Failover, Network, Region, Zone), farNetwork, OtherNetwork));
    }

    [Fact]
    public void Within_the_own_network_the_other_preferences_count() =>
        Assert.Equal(["near"], Chosen(Cart((80, 8080)).Balanced(Failover, Network, Region, Zone), Near, SameRegion, Far, OtherNetwork));

    [Fact]
    public void A_network_that_is_not_the_first_preference_is_one_like_the_others() =>
        Assert.Equal(["other-network"], Chosen(Cart((80, 8080)).Balanced(Failover, Region, Network), Far, OtherNetwork));

    [Fact]
    public void Strict_chooses_among_those_that_match_everything() =>
        Assert.Equal(["near"], Chosen(Cart((80, 8080)).Balanced(Strict, Region, Zone, Node), Near, SameZone));

    [Fact]
    public void Strict_chooses_none_when_none_matches_everything() => Assert.Null(Select(Cart((80, 8080)).Balanced(Strict, Node), 80, SameZone, Far));

    [Fact]
    public void Strict_never_leaves_a_network_that_it_names() =>
        Assert.Null(Select(Cart((80, 8080)).Balanced(Strict, Network, Region, Zone), 80, OtherNetwork));

    [Theory]
    [InlineData(Subzone)]
    [InlineData(Cluster)]
    public void Every_scope_compares_its_own_field(RoutingScope scope)
    {
        var match = Far with { Locality = Far.Locality with { Subzone = "a" }, ClusterId = "c1" };
        var source = Client with { ClusterId = "c1" };
        var service = Cart((80, 8080)).Balanced(Strict, scope);
        var mesh = Of(service, match.Behind(CartKey), (Near with { ClusterId = "c2" }).Behind(CartKey));

        Assert.Equal("far", EndpointSelector.Select(mesh, service, 80, source, IPAddress.Loopback, new Random(Seed))!.Workload.Name);
    }

    [Fact]
    public void An_unhealthy_endpoint_is_not_chosen() =>
        Assert.Equal(["far"], Chosen(Cart((80, 8080)), Near with { Status = WorkloadStatus.Unhealthy }, Far));

    [Fact]
    public void An_unhealthy_endpoint_is_chosen_from_when_the_service_allows_all()
    {
        var service = Cart((80, 8080)) with { LoadBalancing = LoadBalancing.Default with { HealthPolicy = HealthPolicy.AllowAll } };
        Assert.Equal(["far", "near"], Chosen(service, Near with { Status = WorkloadStatus.Unhealthy }, Far));
    }

    [Fact]
    public void An_endpoint_without_address_or_host_name_is_not_chosen() => Assert.Null(Select(Cart((80, 8080)), 80, Near with { Addresses = [] }));

    [Fact]
    public void An_endpoint_with_a_host_name_alone_is_chosen_without_address() =>
        Assert.Null(Assert.IsType<SelectedEndpoint>(Select(Cart((80, 8080)), 80, Near with { Addresses = [], Hostname = "near.example" })).Address);

    [Theory]
    [InlineData("there", true)]
    [InlineData("here", false)]
    public void An_endpoint_behind_a_gateway_is_chosen_from_another_network_alone(string network, bool chosen)
    {
        var gateway = new GatewayAddress(new NamespacedHostname("istio-system", "gateway.example"), 15008);
        Assert.Equal(chosen, Select(Cart((80, 8080)), 80, Near with { Addresses = [], Network = network, NetworkGateway = gateway }) is not null);
    }

    [Fact]
    public void Load_is_spread_by_capacity()
    {
        const int Draws = 10_000;
        var service = Cart((80, 8080));
        var mesh = Of(service, (Near with { Capacity = 3 }).Behind(CartKey), Far.Behind(CartKey), (SameZone with { Capacity = 0 }).Behind(CartKey));
        var random = new Random(Seed);
        var shares = Enumerable.Range(0, Draws)
            .CountBy(_ => EndpointSelector.Select(mesh, service, 80, Client, IPAddress.Loopback, random)!.Workload.Name)
            .ToDictionary(pair => pair.Key, pair => (double)pair.Value / Draws);

        Assert.Equal(["far", "near"], shares.Keys.Order());
        Assert.Equal(0.75, shares["near"], tolerance: 0.02);
    }

    [Fact]
    public void Endpoints_without_any_capacity_are_not_chosen() => Assert.Null(Select(Cart((80, 8080)), 80, Near with { Capacity = 0 }));

    [Theory]
    [InlineData(8080, 9090, true, 9090)]
    [InlineData(8080, null, true, 8080)]
    [InlineData(8080, 0, true, 8080)]
    [InlineData(0, 9090, false, 9090)]
    [InlineData(0, null, true, 80)]
    [InlineData(0, null, false, null)]
    public void The_port_is_the_endpoints_own_then_the_services_then_that_of_the_application_tunnel(int service, int? own, bool tunnel, int? port)
    {
        var workload = own is { } target ? Near.Behind(CartKey, (80, target)) : Near.Behind(CartKey);
        workload = tunnel ? workload with { ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088) } : workload;

        Assert.Equal(port, EndpointSelector.TargetPort(workload, Cart((80, service)), 80));
    }

    [Fact]
    public void An_application_tunnel_without_port_maps_no_port() => Assert.Null(EndpointSelector.TargetPort(
        Near.Behind(CartKey) with { ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, null) }, Cart((80, 0)), 80));

    [Fact]
    public void Of_a_named_port_the_endpoints_that_have_it_are_chosen_from() => Assert.Equal(
        9090, Assert.IsType<SelectedEndpoint>(SelectFrom(Cart((80, 0)), 80, "192.0.2.1", Near.Behind(CartKey), Far.Behind(CartKey, (80, 9090)))).Port);

    [Theory]
    [InlineData(IPFamilies.Automatic, "192.0.2.1", "10.0.0.1")]
    [InlineData(IPFamilies.Automatic, "2001:db8:9::1", "2001:db8::1")]
    [InlineData(IPFamilies.Dual, "2001:db8:9::1", "2001:db8::1")]
    [InlineData(IPFamilies.IPv4Only, "2001:db8:9::1", "10.0.0.1")]
    [InlineData(IPFamilies.IPv6Only, "192.0.2.1", "2001:db8::1")]
    [InlineData(IPFamilies.Automatic, "10.0.0.2", "10.0.0.2")]
    [InlineData(IPFamilies.IPv6Only, "10.0.0.2", "10.0.0.2")]
    public void The_address_is_the_one_dialled_then_one_of_its_family_that_the_service_allows(IPFamilies families, string dialled, string address)
    {
        var endpoint = (Near with { Addresses = [.. new[] { "10.0.0.1", "10.0.0.2", "2001:db8::1" }.Select(IPAddress.Parse)] }).Behind(CartKey);
        Assert.Equal(IPAddress.Parse(address), SelectFrom(Cart((80, 8080)) with { IPFamilies = families }, 80, dialled, endpoint)?.Address);
    }

    [Theory]
    [InlineData(IPFamilies.Automatic, "10.0.0.1")]
    [InlineData(IPFamilies.IPv6Only, null)]
    public void Without_an_address_of_the_dialled_family_another_one_that_is_allowed_serves(IPFamilies families, string? address)
    {
        var endpoint = (Near with { Addresses = [IPAddress.Parse("10.0.0.1")] }).Behind(CartKey);
        Assert.Equal(address, SelectFrom(Cart((80, 8080)) with { IPFamilies = families }, 80, "2001:db8:9::1", endpoint)?.Address?.ToString());
    }

    private static Workload At(string name, string region, string zone, string node) =>
        Pod(name, "10.0.0.1") with { Locality = new Locality(region, zone), Node = node, Network = "here" };

    private static SelectedEndpoint? Select(Service service, int port, params IEnumerable<Workload> endpoints) =>
        SelectFrom(service, port, "192.0.2.1", endpoints.Select(endpoint => endpoint.Behind(CartKey)));

    private static SelectedEndpoint? SelectFrom(Service service, int port, string dialled, params IEnumerable<Workload> endpoints) =>
        EndpointSelector.Select(Of([service, .. endpoints]), service, port, Client, IPAddress.Parse(dialled), new Random(Seed));

    /// <summary>All that are ever chosen, by name.</summary>
    private static IEnumerable<string> Chosen(Service service, params IEnumerable<Workload> endpoints)
    {
        var mesh = Of([service, .. endpoints.Select(endpoint => endpoint.Behind(CartKey))]);
        var random = new Random(Seed);
        return Enumerable.Range(0, 100)
            .Select(_ => EndpointSelector.Select(mesh, service, 80, Client, IPAddress.Parse("192.0.2.1"), random)!.Workload.Name)
            .Distinct()
            .Order();
    }
}
