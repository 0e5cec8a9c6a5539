using System.Net;
using static Mesh.Core.Workloads.Meshes;

namespace Mesh.Core.Workloads;

public sealed class MeshSnapshotTests
{
    private static readonly Workload Entry = Pod("entry", "10.0.0.1") with { Uid = "Kubernetes/WorkloadEntry/shop/entry" };

    [Fact]
    public void A_workload_is_found_by_each_of_its_addresses()
    {
        var mesh = Of(Pod("web", "10.0.0.1", "2001:db8::1"));
        Assert.Same(mesh.FindWorkload(At("10.0.0.1")), mesh.FindWorkload(At("2001:db8::1")));
    }

    [Fact]
    public void A_workload_is_found_by_an_ipv4_address_in_ipv6_form() => Assert.NotNull(Of(Pod("web", "10.0.0.1")).FindWorkload(At("::ffff:10.0.0.1")));

    [Fact]
    public void A_workload_of_another_network_is_not_found() =>
        Assert.Null(Of(Pod("web", "10.0.0.1") with { Network = "east" }).FindWorkload(At("10.0.0.1")));

    [Fact]
    public void A_workload_on_the_network_of_its_host_is_not_found_by_address() =>
        Assert.Null(Of(Pod("web", "10.0.0.1") with { NetworkMode = NetworkMode.HostNetwork }).FindWorkload(At("10.0.0.1")));

    [Fact]
    public void A_workload_on_the_network_of_its_host_is_an_endpoint() =>
        Assert.Single(Of((Pod("web", "10.0.0.1") with { NetworkMode = NetworkMode.HostNetwork }).Behind(CartKey), Cart()).EndpointsOf(CartKey));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Of_several_on_one_address_a_pod_goes_before_one_that_takes_hbone(bool podFirst)
    {
        var (pod, entry) = (Pod("web", "10.0.0.1"), Entry with { Protocol = TunnelProtocol.Hbone });
        Assert.Same(pod, (podFirst ? Of(pod, entry) : Of(entry, pod)).FindWorkload(At("10.0.0.1")));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Of_several_on_one_address_one_that_takes_hbone_goes_before_one_that_does_not(bool hboneFirst)
    {
        var (hbone, plain) = (Entry with { Protocol = TunnelProtocol.Hbone }, Entry with { Uid = "other" });
        Assert.Same(hbone, (hboneFirst ? Of(hbone, plain) : Of(plain, hbone)).FindWorkload(At("10.0.0.1")));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Of_several_pods_on_one_address_one_that_takes_hbone_goes_first(bool hboneFirst)
    {
        var (hbone, plain) = (Pod("web", "10.0.0.1") with { Protocol = TunnelProtocol.Hbone }, Pod("old", "10.0.0.1"));
        Assert.Same(hbone, (hboneFirst ? Of(hbone, plain) : Of(plain, hbone)).FindWorkload(At("10.0.0.1")));
    }

    [Fact]
    public void When_the_preferred_one_leaves_an_address_the_other_is_found()
    {
        var mesh = new MeshState();
        mesh.Update(editor => editor.Upsert(Pod("web", "10.0.0.1")));
        mesh.Update(editor => editor.Upsert(Entry));
        mesh.Update(editor => editor.RemoveWorkload(Pod("web").Uid));
        Assert.Same(Entry, mesh.Current.FindWorkload(At("10.0.0.1")));
    }

    [Fact]
    public void A_workload_that_moved_is_not_found_by_its_old_address() =>
        Assert.Null(Of(Pod("web", "10.0.0.1"), Pod("web", "10.0.0.2")).FindWorkload(At("10.0.0.1")));

    [Theory]
    [InlineData("shop", "web", "front", "node-1", true)]
    [InlineData("shop", "web", "front", null, true)]
    [InlineData("shop", "web", "front", "node-2", false)]
    [InlineData("shop", "web", "default", "node-1", false)]
    [InlineData("bank", "web", "front", "node-1", false)]
    [InlineData("shop", "cart", "front", "node-1", false)]
    public void A_pod_is_found_by_what_its_node_knows_of_it(string ns, string name, string serviceAccount, string? node, bool found) => Assert.Equal(
        found, Of(Pod("web") with { ServiceAccount = "front", Node = "node-1" }).FindWorkload(ns, name, serviceAccount, node) is not null);

    [Fact]
    public void A_workload_is_found_by_its_own_host_name() =>
        Assert.NotNull(Of(Pod("web") with { Hostname = "web.example" }).FindWorkload(new NamespacedHostname("shop", "web.example")));

    [Theory]
    [InlineData("10.9.0.1")]
    [InlineData("::ffff:10.9.0.1")]
    public void A_service_is_found_by_its_address(string address) => Assert.NotNull(Of(ServiceOf("shop", "10.9.0.1")).FindService(At(address), "shop"));

    [Fact]
    public void A_service_whose_address_changed_is_not_found_by_the_old_one() =>
        Assert.Null(Of(ServiceOf("shop", "10.9.0.1"), ServiceOf("shop", "10.9.0.2")).FindService(At("10.9.0.1"), "shop"));

    [Theory]
    [InlineData("shop", "shop")]
    [InlineData("bank", "bank")]
    [InlineData("mail", "bank")]
    public void Of_services_that_share_an_address_that_of_the_client_goes_first_then_the_canonical_one(string client, string found) => Assert.Equal(
        found, Of(ServiceOf("shop", "10.9.0.1"), ServiceOf("bank", "10.9.0.1") with { Canonical = true }).FindService(At("10.9.0.1"), client)!.Namespace);

    [Fact]
    public void Of_services_alike_the_one_seen_first_is_found() =>
        Assert.Equal("shop", Of(ServiceOf("shop", "10.9.0.1"), ServiceOf("bank", "10.9.0.1")).FindService(At("10.9.0.1"), "mail")!.Namespace);

    [Theory]
    [InlineData("shop", true)]
    [InlineData("bank", false)]
    public void A_service_that_is_visible_in_its_namespace_does_not_exist_for_others(string client, bool found) => Assert.Equal(
        found, Of(ServiceOf("shop", "10.9.0.1") with { Visibility = ServiceVisibility.Namespace }).FindService(At("10.9.0.1"), client) is not null);

    [Theory]
    [InlineData("shop", "shop")]
    [InlineData("mail", "bank")]
    public void A_service_that_the_client_cannot_see_leaves_the_address_to_another(string client, string found)
    {
        var hidden = ServiceOf("shop", "10.9.0.1") with { Visibility = ServiceVisibility.Namespace, Canonical = true };
        Assert.Equal(found, Of(hidden, ServiceOf("bank", "10.9.0.1")).FindService(At("10.9.0.1"), client)!.Namespace);
    }

    [Fact]
    public void A_service_that_the_client_cannot_see_leaves_the_address_to_a_range()
    {
        var hidden = ServiceOf("shop", "10.9.0.1") with { Visibility = ServiceVisibility.Namespace };
        Assert.Equal("bank", Of(hidden, ServiceOf("bank").WithRanges("10.9.0.0/16")).FindService(At("10.9.0.1"), "mail")!.Namespace);
    }

    [Theory]
    [InlineData("10.9.7.7", true)]
    [InlineData("10.8.7.7", false)]
    [InlineData("2001:db8::7", true)]
    [InlineData("2001:db9::7", false)]
    public void A_service_is_found_by_a_range(string address, bool found) => Assert.Equal(
        found, Of(ServiceOf("shop").WithRanges("10.9.0.0/16", "2001:db8::/32")).FindService(At(address), "shop") is not null);

    [Fact]
    public void A_range_of_another_network_does_not_count() =>
        Assert.Null(Of(ServiceOf("shop").WithRanges("10.9.0.0/16")).FindService(new NetworkAddress("east", IPAddress.Parse("10.9.7.7")), "shop"));

    [Fact]
    public void An_exact_address_goes_before_a_range_of_the_clients_namespace() => Assert.Equal(
        "bank", Of(ServiceOf("shop").WithRanges("10.9.0.1/32"), ServiceOf("bank", "10.9.0.1")).FindService(At("10.9.0.1"), "shop")!.Namespace);

    [Fact]
    public void The_longest_prefix_goes_first() => Assert.Equal(
        "bank", Of(ServiceOf("shop").WithRanges("10.0.0.0/8"), ServiceOf("bank").WithRanges("10.9.0.0/16")).FindService(At("10.9.0.1"), "mail")!.Namespace);

    [Fact]
    public void The_clients_namespace_goes_before_the_longest_prefix() => Assert.Equal(
        "shop", Of(ServiceOf("shop").WithRanges("10.0.0.0/8"), ServiceOf("bank").WithRanges("10.9.0.0/16")).FindService(At("10.9.0.1"), "shop")!.Namespace);

    [Fact]
    public void Of_prefixes_alike_that_of_the_canonical_service_goes_first() => Assert.Equal(
        "bank",
        Of(ServiceOf("shop").WithRanges("10.0.0.0/8"), ServiceOf("bank").WithRanges("10.0.0.0/8") with { Canonical = true }).FindService(At("10.9.0.1"), "mail")!.Namespace);

    [Fact]
    public void A_range_that_was_removed_is_not_found() =>
        Assert.Null(Of(ServiceOf("shop").WithRanges("10.9.0.0/16"), ServiceOf("shop")).FindService(At("10.9.0.1"), "shop"));

    [Theory]
    [InlineData("cart.example", "shop", "shop")]
    [InlineData("CART.example", "bank", "bank")]
    [InlineData("cart.example", "mail", "bank")]
    public void A_service_is_found_by_its_host_name_as_by_its_address(string hostname, string client, string found) =>
        Assert.Equal(found, Of(ServiceOf("shop"), ServiceOf("bank") with { Canonical = true }).FindServiceByHostname(hostname, client)!.Namespace);

    [Fact]
    public void A_host_name_that_the_client_cannot_see_does_not_exist() =>
        Assert.Null(Of(ServiceOf("shop") with { Visibility = ServiceVisibility.Namespace }).FindServiceByHostname("cart.example", "bank"));

    [Fact]
    public void Endpoints_that_came_before_their_service_are_its_endpoints() =>
        Assert.Equal(["web"], Of(Pod("web").Behind(CartKey), Cart()).EndpointsOf(CartKey).Values.Select(one => one.Name));

    [Fact]
    public void A_service_that_changed_keeps_its_endpoints() =>
        Assert.Single(Of(Cart((80, 1)), Pod("web").Behind(CartKey), Cart((80, 2))).EndpointsOf(CartKey));

    [Fact]
    public void A_workload_that_no_longer_names_a_service_is_not_its_endpoint() =>
        Assert.Empty(Of(Cart(), Pod("web").Behind(CartKey), Pod("web")).EndpointsOf(CartKey));
}
