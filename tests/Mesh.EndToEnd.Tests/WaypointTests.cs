using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>A pod whose waypoint is another pod: calls go there first, and where that is required nobody gets past it (ztunnel §7.2, §8.3).</summary>
public sealed class WaypointTests : IAsyncLifetime
{
    private const int ApplicationTunnelPort = 15088;
    private const string PastTheWaypoint = "the connection did not come through the waypoint";
    private RedirectedMesh _mesh = null!;
    private Peer _waypoint = null!;
    private Peer _services = null!;

    public async Task InitializeAsync()
    {
        if (RequiresNamespacesAttribute.WhySkip() is null)
        {
            _mesh = await RedirectedMesh.StartAsync(("MESH_REQUIRE_WAYPOINT", "true"));
            _services = await RedirectedMesh.ServeAsync(_mesh.Cart);
            _waypoint = NodeNetwork.Start(_mesh.Pay.Netns, "python3", "-u", RedirectedMesh.Script("waypoint.py"), $"{ApplicationTunnelPort}");
            await _waypoint.LogsAsync("ready");

            // Without the waypoint, for who is to go past it.
            File.Copy(_mesh.Network.ConfigurationFile, Without);
            await File.WriteAllTextAsync(_mesh.Network.ConfigurationFile, $$"""
                workloads:
                {{Workload(_mesh.Web, "")}}
                {{Workload(_mesh.Other, "")}}
                {{Workload(_mesh.Cart, $", waypoint: {{destination: /{_mesh.Pay.Address}, hboneMtlsPort: 15008}}")}}
                {{Workload(_mesh.Pay, $", applicationTunnel: {{protocol: PROXY, port: {ApplicationTunnelPort}}}")}}
                """);
            await Eventually.UntilAsync("the waypoint is gone through", async () => await EchoAsync(_mesh.Other) == "hello" && _waypoint.Output.Contains("source", StringComparison.Ordinal));
        }
    }

    public async Task DisposeAsync()
    {
        foreach (var disposable in new IAsyncDisposable?[] { _services, _waypoint, _mesh })
        {
            await (disposable?.DisposeAsync() ?? default);
        }
    }

    [RequiresNamespaces]
    public async Task A_waypoint_is_told_who_calls_whom_and_carries_the_call_on()
    {
        Assert.Equal("hello", await EchoAsync(_mesh.Web));

        // The client came to the waypoint over IPv4 and meant an address of IPv6: the header has no form for that but to name neither.
        await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address6);

        const string Identity = "identity spiffe://cluster.local/ns/shop/sa/web";
        await _waypoint.LogsAsync($"source {_mesh.Web.Address} ", $" target {_mesh.Cart.Address} 7 ", Identity);
        await _waypoint.LogsAsync("source none 0 target none 0 ", Identity);
        Assert.DoesNotContain("not a header", _waypoint.Output, StringComparison.Ordinal);
        await _mesh.Ztunnels[0].LogsAsync("connection complete", $"src.addr={_mesh.Web.Address}:", $"dst.addr={_mesh.Pay.Address}:15008 dst.hbone_addr={_mesh.Cart.Address}:7 ");
        await _mesh.Ztunnels[1].LogsAsync("connection complete", "src.identity=\"spiffe://cluster.local/ns/shop/sa/pay\"", $"{_mesh.Cart.Address}:7 ", "direction=\"inbound\"");
    }

    [RequiresNamespaces]
    public async Task Who_goes_past_a_waypoint_that_is_required_is_refused()
    {
        // A ztunnel that knows nothing of the waypoint, and a client that has none.
        var settings = _mesh.Network.Settings(_mesh.Network.First, _mesh.Agents[0]);
        settings["LOCAL_XDS_PATH"] = Without;
        await using var straight = Peer.Start(settings, "ip", ["netns", "exec", _mesh.Network.AddNamespace("straight"), "dotnet", Executable.PathOf("Mesh.Ztunnel")]);
        await RedirectedMesh.TellAsync(_mesh.Agents[0], 2, _mesh.Web, _mesh.Other);
        _mesh.Ztunnels[0].Signal("TERM");
        Assert.Equal(0, await _mesh.Ztunnels[0].ExitAsync());

        Assert.Equal("", await EchoAsync(_mesh.Web));
        await _mesh.Ztunnels[1].LogsAsync("connection complete", $"src.addr={_mesh.Web.Address}:", PastTheWaypoint);
        await straight.LogsAsync("connection complete", $"dst.addr={_mesh.Cart.Address}:15008", "error=\"http status: 401\"");
        Assert.Equal("", await RedirectedMesh.EchoAsync(_mesh.Network.First.Netns, _mesh.Cart.Address));
        await _mesh.Ztunnels[1].LogsAsync("\taccess\t", $"src.addr={_mesh.Network.First.Address}:", PastTheWaypoint);

        // The waypoint itself is let in.
        Assert.Equal("hello", await EchoAsync(_mesh.Pay));
    }

    private string Without => Path.Combine(_mesh.Network.Directory, "without-waypoint.yaml");

    private Task<string> EchoAsync(TestPod from) => RedirectedMesh.EchoAsync(from.Netns, _mesh.Cart.Address);

    private static string Workload(TestPod pod, string more) =>
        $"- {{uid: {pod.Uid}, name: {pod.Name}, namespace: shop, serviceAccount: {pod.ServiceAccount}, node: {pod.Node.Name}, "
        + $"workloadIps: [{pod.Address}, \"{pod.Address6}\"], protocol: HBONE, services: {{}}{more}}}";
}
