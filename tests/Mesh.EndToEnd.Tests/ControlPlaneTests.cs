using System.Text.Json;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Two ztunnel processes and one control-plane process, no local files: pods in network namespaces that do not know of any of them.</summary>
public sealed class ControlPlaneTests
{
    private const string DenyWeb = """


        - name: not-web
          namespace: shop
          scope: Namespace
          action: Deny
          rules:
          - - - principals: [!Exact cluster.local/ns/shop/sa/web]
        """;

    [RequiresNamespaces]
    public async Task Configured_by_a_control_plane_that_is_killed_and_comes_back()
    {
        await using var mesh = await RedirectedMesh.StartWithControlPlaneAsync();
        var controlPlane = mesh.Network.ControlPlane!;
        await using var services = await RedirectedMesh.ServeAsync(mesh.Cart);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address));
        await mesh.Ztunnels[1].LogsAsync("connection complete", "inbound", "src.identity=\"spiffe://cluster.local/ns/shop/sa/web\"");

        mesh.WritePolicies(DenyWeb);
        await Eventually.UntilAsync("the policy denies", async () => await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address) == "");
        mesh.WritePolicies("");
        await Eventually.UntilAsync("it is gone", async () => await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address) == "hello");

        await controlPlane.StopAsync();
        await mesh.Ztunnels[0].LogsAsync("No stream from the control plane");
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address));

        // A policy that was edited while nobody served it.
        mesh.WritePolicies(DenyWeb);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address));
        await controlPlane.StartAsync();
        await Eventually.UntilAsync("the policy denies", async () => await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address) == "");
    }

    [RequiresNamespaces]
    public async Task On_demand_a_destination_is_asked_for_while_the_connection_waits()
    {
        await using var mesh = await RedirectedMesh.StartWithControlPlaneAsync(("XDS_ON_DEMAND", "true"), ("ISTIO_META_DNS_CAPTURE", "false"));
        await using var services = await RedirectedMesh.ServeAsync(mesh.Cart);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address));
        await mesh.Ztunnels[0].LogsAsync("connection complete", "outbound", $"dst.hbone_addr={mesh.Cart.Address}:7");

        // Policies come all, without being asked for; and what is known is followed.
        mesh.WritePolicies(DenyWeb);
        await Eventually.UntilAsync("the policy denies", async () => await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Cart.Address) == "");

        // Without the control plane nobody can say what an address is, so it must not be passed through in plain text.
        await mesh.Network.ControlPlane!.StopAsync();
        Assert.Equal("", await RedirectedMesh.EchoAsync(mesh.Web.Netns, mesh.Pay.Address));
        await mesh.Ztunnels[0].LogsAsync("connection complete", $"the control plane has not said in time what /{mesh.Pay.Address} is");
    }

    [RequiresNamespaces]
    public async Task Certificates_of_a_minute_are_replaced_under_load_and_no_connection_fails()
    {
        await using var mesh = await RedirectedMesh.StartWithControlPlaneAsync(("SECRET_TTL", "60s"));
        await using var services = await RedirectedMesh.ServeAsync(mesh.Cart);
        await using var load = NodeNetwork.Start(mesh.Web.Netns, "python3", "-u", RedirectedMesh.Script("load.py"), mesh.Cart.Address.ToString(), "7", "100");
        await load.LogsAsync("open");

        // Both sides replace theirs at half of the lifetime; twice, so that certificates of the first connections have expired.
        await Eventually.UntilAsync("both have replaced their certificates twice", () => Task.FromResult(Issued(mesh.Ztunnels[0], "web") >= 3 && Issued(mesh.Ztunnels[1], "cart") >= 3), TimeSpan.FromSeconds(100));
        await load.TellAsync("report");
        var first = await load.SaysAsync("report 1");
        await load.TellAsync("report");
        using var report = JsonDocument.Parse(await load.SaysAsync("report 2"));
        Assert.Equal((100, 0, 0, 0), (Count("kept"), Count("broken"), Count("refused"), Count("cut")));
        Assert.True(Count("new") > 1000, first);

        int Count(string name) => report.RootElement.GetProperty(name).GetInt32();
    }

    [Fact]
    public async Task Without_its_control_plane_a_ztunnel_is_not_ready_and_says_why()
    {
        await using var ztunnel = Peer.Start(
            new Dictionary<string, string>
            {
                ["PROXY_MODE"] = "dedicated",
                ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web",
                ["XDS_ADDRESS"] = "127.0.0.1:1",
                ["XDS_ROOT_CA"] = "SYSTEM",
                ["CA_ADDRESS"] = "127.0.0.1:1",
                ["MESH_LISTEN_ADDRESS"] = "127.79.1.1",
            },
            "dotnet",
            Executable.PathOf("Mesh.Ztunnel"));
        await ztunnel.LogsAsync("No stream from the control plane https://127.0.0.1:1/", "Connection refused");
        await using var probe = Peer.Start("curl", "-s", "-w", "%{http_code}", "http://127.79.1.1:15021/healthz/ready");
        Assert.Equal(0, await probe.ExitAsync());
        Assert.Contains("not ready, pending: dns proxy, proxy, state manager", probe.Output, StringComparison.Ordinal);
        Assert.Contains("state manager: no stream from the control plane: Unavailable: Connection refused", probe.Output, StringComparison.Ordinal);
        Assert.EndsWith("500", probe.Output, StringComparison.Ordinal);

        ztunnel.Signal("TERM");
        Assert.Equal(0, await ztunnel.ExitAsync());
    }

    private static int Issued(Peer ztunnel, string account) =>
        ztunnel.Output.Split('\n').Count(line => line.Contains($"Certificate of spiffe://cluster.local/ns/shop/sa/{account} issued", StringComparison.Ordinal));
}
