using System.Diagnostics;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Two network namespaces joined by a wire, and iptables that send an unmodified program's connections to the ztunnel.</summary>
public sealed class RedirectionTests : IAsyncLifetime
{
    private const string WebAddress = "10.213.7.1";
    private const string CartAddress = "10.213.7.2";
    private readonly string _web = $"mesh-web-{Environment.ProcessId}";
    private readonly string _cart = $"mesh-cart-{Environment.ProcessId}";
    private readonly TemporaryDirectory _directory = new();

    public Task InitializeAsync()
    {
        if (Programs.WhySkip("iptables", "iptables", []) is not null)
        {
            return Task.CompletedTask;
        }

        Run("ip", "netns", "add", _web);
        Run("ip", "netns", "add", _cart);
        Run("ip", "link", "add", "eth0", "netns", _web, "type", "veth", "peer", "name", "eth0", "netns", _cart);
        foreach (var (ns, address) in new[] { (_web, WebAddress), (_cart, CartAddress) })
        {
            Run("ip", "-n", ns, "address", "add", $"{address}/24", "dev", "eth0");
            Run("ip", "-n", ns, "link", "set", "lo", "up");
            Run("ip", "-n", ns, "link", "set", "eth0", "up");
        }

        // Virtual addresses lead somewhere, so that a connection to one begins; nobody there would answer.
        Run("ip", "-n", _web, "route", "add", "10.96.0.0/16", "dev", "eth0");
        Run("ip", "netns", "exec", _web, "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", "10.96.0.0/16", "-j", "REDIRECT", "--to-ports", "15001");
        return Task.CompletedTask;
    }

    public Task DisposeAsync()
    {
        Process.Start("ip", ["netns", "delete", _web]).WaitForExit();
        Process.Start("ip", ["netns", "delete", _cart]).WaitForExit();
        _directory.Dispose();
        return Task.CompletedTask;
    }

    [RequiresProgram("iptables", "iptables")]
    public async Task An_unmodified_program_that_knows_nothing_of_the_mesh_goes_through_it()
    {
        await File.WriteAllTextAsync(Path.Combine(_directory.Path, "mesh.yaml"), $$$"""
            workloads:
            - {uid: web, name: web-0, namespace: shop, serviceAccount: web, workloadIps: [{{{WebAddress}}}], protocol: HBONE, services: {}}
            - uid: cart
              name: cart-0
              namespace: shop
              serviceAccount: cart
              workloadIps: [{{{CartAddress}}}]
              protocol: HBONE
              services: {shop/cart.shop.svc.cluster.local: {80: 8080}}
            services:
            - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: [/10.96.0.2], ports: {80: 8080}}
            policies:
            - {name: only-web, namespace: shop, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/web]}]]]}
            """);
        await File.WriteAllTextAsync(Path.Combine(_directory.Path, "hello.txt"), "hello from the far application");
        await using var application = Peer.Start("ip", "netns", "exec", _cart, "python3", "-u", "-m", "http.server", "8080", "--bind", CartAddress, "--directory", _directory.Path);
        await application.LogsAsync("Serving HTTP");
        await using var web = Ztunnel(_web, "web");
        await using var cart = Ztunnel(_cart, "cart");
        await web.LogsAsync("\tready");
        await cart.LogsAsync("\tready");

        await using var curl = Peer.Start("ip", "netns", "exec", _web, "curl", "-s", "--max-time", "20", "http://10.96.0.2/hello.txt");

        Assert.Equal(0, await curl.ExitAsync());
        Assert.Equal("hello from the far application", curl.Output);
        await web.LogsAsync("connection complete", $"dst.addr={CartAddress}:15008 dst.hbone_addr={CartAddress}:8080", "direction=\"outbound\"");
        await cart.LogsAsync("connection complete", "src.workload=\"web-0\"", "src.identity=\"spiffe://cluster.local/ns/shop/sa/web\"", "direction=\"inbound\"");
    }

    private Peer Ztunnel(string ns, string name) => Peer.Start(
        new Dictionary<string, string>
        {
            ["PROXY_MODE"] = "dedicated",
            ["PROXY_WORKLOAD_INFO"] = $"shop/{name}-0/{name}",
            ["LOCAL_XDS_PATH"] = Path.Combine(_directory.Path, "mesh.yaml"),
            ["MESH_DEVELOPMENT_CA"] = Path.Combine(_directory.Path, "ca"),
        },
        "ip",
        ["netns", "exec", ns, "dotnet", Executable.PathOf("Mesh.Ztunnel")]);

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}");
    }
}
