using System.Net;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Two nodes with two pods each, redirected by <c>mesh redirect</c>, and a ztunnel in shared mode and a CNI agent for each node.</summary>
internal sealed class RedirectedMesh : IAsyncDisposable
{
    private RedirectedMesh(bool hasControlPlane, (string Name, string Value)[] settings)
    {
        Network = NodeNetwork.Create();
        (Web, Other) = (Network.AddPod(Network.First, "web"), Network.AddPod(Network.First, "other"));
        (Cart, Pay) = (Network.AddPod(Network.Second, "cart"), Network.AddPod(Network.Second, "pay"));
        WritePolicies("");
        foreach (var pod in new[] { Web, Other, Cart, Pay })
        {
            NodeNetwork.Redirect(pod, "--dns");
        }

        Agents = [CniAgent.Start(Path.Combine(Network.Directory, "cni1.sock")), CniAgent.Start(Path.Combine(Network.Directory, "cni2.sock"))];
        Network.ControlPlane = hasControlPlane ? ControlPlaneProcess.Create(Network) : null;
        Ztunnels = [Network.Ztunnel(Network.First, Agents[0], settings), Network.Ztunnel(Network.Second, Agents[1], settings)];
    }

    public NodeNetwork Network { get; }

    public TestPod Web { get; }

    public TestPod Other { get; }

    public TestPod Cart { get; }

    public TestPod Pay { get; }

    public CniAgent[] Agents { get; }

    public Peer[] Ztunnels { get; }

    /// <summary>Starts all, each ztunnel with its file.</summary>
    public static Task<RedirectedMesh> StartAsync(params (string Name, string Value)[] settings) => StartAsync(new RedirectedMesh(hasControlPlane: false, settings));

    /// <summary>Starts all, with a control plane and no local files.</summary>
    public static async Task<RedirectedMesh> StartWithControlPlaneAsync(params (string Name, string Value)[] settings)
    {
        var mesh = new RedirectedMesh(hasControlPlane: true, settings);
        await mesh.Network.ControlPlane!.StartAsync();
        return await StartAsync(mesh);
    }

    private static async Task<RedirectedMesh> StartAsync(RedirectedMesh mesh)
    {
        await TellAsync(mesh.Agents[0], 1, mesh.Web, mesh.Other);
        await TellAsync(mesh.Agents[1], 1, mesh.Cart, mesh.Pay);
        return mesh;
    }

    /// <summary>Tells the ztunnel that has connected as the n-th of its pods.</summary>
    public static async Task TellAsync(CniAgent agent, int connection, params TestPod[] pods)
    {
        await agent.WaitAsync(connection);
        foreach (var pod in pods)
        {
            Assert.Equal("ack", await agent.AddAsync(pod));
        }

        Assert.Equal("ack", await agent.EndSnapshotAsync());
    }

    /// <summary>The path of a script of the tests.</summary>
    public static string Script(string file) => Path.Combine(AppContext.BaseDirectory, "Scripts", file);

    /// <summary>Echo on port 7 and a service that speaks first on port 25, in a pod.</summary>
    public static async Task<Peer> ServeAsync(TestPod pod)
    {
        var services = NodeNetwork.Start(pod.Netns, "python3", "-u", Script("services.py"));
        await services.LogsAsync("serving");
        return services;
    }

    /// <summary>What an echo server answers to "hello"; nothing when the connection is cut.</summary>
    public static async Task<string> EchoAsync(string netns, IPAddress address) => (await NodeNetwork.RunAsync(netns, "python3", "-c", Client(address, 7, "hello"))).Output.Trim();

    /// <summary>A Python program that says something, and prints what it hears, which is nothing when it is cut off.</summary>
    public static string Client(IPAddress address, int port, string text) => $"""
        import socket
        try:
            s = socket.create_connection(('{address}', {port}), timeout=15)
            s.sendall(b'{text}')
            print(s.recv(100).decode())
        except OSError:
            pass
        """;

    /// <summary>Writes the file of the mesh again, with other policies.</summary>
    public void WritePolicies(string policies) => Network.WriteMesh(
        """

        - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: [/10.96.0.2], ports: {80: 8080}}
        - {name: pay, namespace: shop, hostname: pay.shop.svc.cluster.local, vips: [/10.96.0.3], ports: {6379: 6379}}
        """,
        policies.Length == 0 ? " []" : policies,
        (Cart, "shop/cart.shop.svc.cluster.local: {80: 8080}"),
        (Pay, "shop/pay.shop.svc.cluster.local: {6379: 6379}"));

    public async ValueTask DisposeAsync()
    {
        foreach (var disposable in Ztunnels.Concat<IAsyncDisposable>(Agents).Concat(Network.ControlPlane is { } controlPlane ? [controlPlane] : []).Append(Network))
        {
            await disposable.DisposeAsync();
        }
    }
}
