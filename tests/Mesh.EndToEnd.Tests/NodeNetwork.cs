using System.Diagnostics;
using System.Net;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>A pod: a network namespace with two addresses.</summary>
internal sealed record TestPod(string Uid, string Name, string ServiceAccount, string Netns, TestNode Node, IPAddress Address, IPAddress Address6);

/// <summary>A node: the network namespace that its ztunnel and its CNI agent run in, and that its pods are behind.</summary>
internal sealed record TestNode(string Name, string Netns, IPAddress Address, IPAddress Address6)
{
    public int Number => Address.GetAddressBytes()[3];
}

/// <summary>Two nodes, joined by a wire, and pods behind them: network namespaces, nothing of which is left when this is disposed.</summary>
internal sealed class NodeNetwork : IAsyncDisposable
{
    private static int _last;
    private readonly string _prefix = $"mesh{Environment.ProcessId}-{Interlocked.Increment(ref _last)}-";
    private readonly TemporaryDirectory _directory = new();
    private readonly List<string> _namespaces = [];
    private readonly List<TestPod> _pods = [];
    private int _ztunnels;

    private NodeNetwork()
    {
        First = AddNode(1);
        Second = AddNode(2);
        Run("ip", "link", "add", "eth0", "netns", First.Netns, "type", "veth", "peer", "name", "eth0", "netns", Second.Netns);
        foreach (var node in new[] { First, Second })
        {
            var other = node == First ? Second : First;
            Run("ip", "-n", node.Netns, "address", "add", $"{node.Address}/24", "dev", "eth0");
            Run("ip", "-n", node.Netns, "address", "add", $"{node.Address6}/64", "dev", "eth0", "nodad");
            Run("ip", "-n", node.Netns, "link", "set", "eth0", "up");
            Run("ip", "-n", node.Netns, "route", "add", $"10.213.{other.Number}.0/24", "via", other.Address.ToString());
            Run("ip", "-n", node.Netns, "-6", "route", "add", $"fd13:{other.Number}::/64", "via", other.Address6.ToString());
        }
    }

    public TestNode First { get; }

    public TestNode Second { get; }

    /// <summary>The network namespace of the ztunnel that was started last.</summary>
    public string LastZtunnel { get; private set; } = "";

    /// <summary>The directory of what belongs to this mesh.</summary>
    public string Directory => _directory.Path;

    /// <summary>What the ztunnels are configured by; null when each reads <see cref="ConfigurationFile"/> itself.</summary>
    public ControlPlaneProcess? ControlPlane { get; set; }

    /// <summary>The file that all ztunnels read, or the control plane.</summary>
    public string ConfigurationFile => Path.Combine(Directory, "mesh.yaml");

    public static NodeNetwork Create() => new();

    /// <summary>Adds a pod behind a node.</summary>
    public TestPod AddPod(TestNode node, string name)
    {
        var number = _pods.Count + 1;
        var pod = new TestPod(
            $"uid-{name}", $"{name}-0", name, AddNamespace(name), node, IPAddress.Parse($"10.213.{node.Number}.{number + 10}"), IPAddress.Parse($"fd13:{node.Number}::{number + 10:x}"));
        var link = $"v{number}";
        Run("ip", "link", "add", "eth0", "netns", pod.Netns, "type", "veth", "peer", "name", link, "netns", node.Netns);
        Run("ip", "-n", pod.Netns, "address", "add", $"{pod.Address}/32", "dev", "eth0");
        Run("ip", "-n", pod.Netns, "address", "add", $"{pod.Address6}/128", "dev", "eth0", "nodad");
        Run("ip", "-n", pod.Netns, "link", "set", "eth0", "up");
        Run("ip", "-n", node.Netns, "address", "add", "169.254.1.1/32", "dev", link);
        Run("ip", "-n", node.Netns, "address", "add", "fe80::1/64", "dev", link, "nodad");
        Run("ip", "-n", node.Netns, "link", "set", link, "up");
        Run("ip", "-n", node.Netns, "route", "add", $"{pod.Address}/32", "dev", link);
        Run("ip", "-n", node.Netns, "-6", "route", "add", $"{pod.Address6}/128", "dev", link);
        Run("ip", "-n", pod.Netns, "route", "add", "169.254.1.1", "dev", "eth0");
        Run("ip", "-n", pod.Netns, "route", "add", "default", "via", "169.254.1.1", "dev", "eth0");
        Run("ip", "-n", pod.Netns, "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0");
        _pods.Add(pod);
        return pod;
    }

    /// <summary>Adds a network namespace with nothing in it.</summary>
    public string AddNamespace(string name)
    {
        var netns = _prefix + name;
        Run("ip", "netns", "add", netns);
        _namespaces.Add(netns);
        Run("ip", "-n", netns, "link", "set", "lo", "up");
        return netns;
    }

    /// <summary>Writes the mesh of all pods, with services and policies.</summary>
    public void WriteMesh(string services, string policies, params (TestPod Pod, string Services)[] endpoints)
    {
        var workloads = _pods.Select(pod =>
            $"- {{uid: {pod.Uid}, name: {pod.Name}, namespace: shop, serviceAccount: {pod.ServiceAccount}, node: {pod.Node.Name}, "
            + $"workloadIps: [{pod.Address}, \"{pod.Address6}\"], protocol: HBONE, services: {{{endpoints.FirstOrDefault(one => one.Pod == pod).Services}}}}}");
        File.WriteAllText(ConfigurationFile, $"workloads:\n{string.Join('\n', workloads)}\nservices:{services}\npolicies:{policies}\n");
    }

    /// <summary>Sends a pod's connections through the ztunnel.</summary>
    public static void Redirect(TestPod pod, params string[] options) => Run("dotnet", [Executable.PathOf("Mesh.Cli"), "redirect", "add", "--netns", pod.Netns, .. options]);

    /// <summary>Starts a program in a network namespace.</summary>
    public static Peer Start(string netns, string program, params IEnumerable<string> arguments) => Peer.Start("ip", ["netns", "exec", netns, program, .. arguments]);

    /// <summary>Runs a program in a network namespace to its end, and returns what it says.</summary>
    public static async Task<(int Status, string Output)> RunAsync(string netns, string program, params IEnumerable<string> arguments)
    {
        await using var peer = Start(netns, program, arguments);
        return (await peer.ExitAsync(), peer.Output);
    }

    /// <summary>Starts a ztunnel of a node, which listens to an agent; in a network namespace of its own, as a pod of a DaemonSet has.</summary>
    public Peer Ztunnel(TestNode node, CniAgent agent, params (string Name, string Value)[] settings)
    {
        LastZtunnel = AddNamespace($"z{++_ztunnels}");
        ControlPlane?.Join(LastZtunnel, _ztunnels);
        return Peer.Start(Settings(node, agent, settings), "ip", ["netns", "exec", LastZtunnel, "dotnet", Executable.PathOf("Mesh.Ztunnel")]);
    }

    /// <summary>The settings of such a ztunnel.</summary>
    public Dictionary<string, string> Settings(TestNode node, CniAgent agent, params (string Name, string Value)[] settings) =>
        new(settings.Select(setting => KeyValuePair.Create(setting.Name, setting.Value)))
        {
            ["NODE_NAME"] = node.Name,
            ["INPOD_UDS"] = agent.Path,
            [ControlPlane is null ? "LOCAL_XDS_PATH" : "XDS_ADDRESS"] = ControlPlane?.AddressFor(_ztunnels) ?? ConfigurationFile,
            [ControlPlane is null ? "MESH_DEVELOPMENT_CA" : "CA_ADDRESS"] = ControlPlane?.AddressFor(_ztunnels) ?? Path.Combine(Directory, "ca"),
            ["XDS_ROOT_CA"] = ControlPlane?.RootPath ?? "",
            ["CA_ROOT_CA"] = ControlPlane?.RootPath ?? "",
            ["AUTH_TOKEN"] = ControlPlane?.TokenOf(node) ?? "",
        };

    public ValueTask DisposeAsync()
    {
        foreach (var netns in _namespaces)
        {
            Process.Start("ip", ["netns", "delete", netns]).WaitForExit();
        }

        _directory.Dispose();
        return default;
    }

    private TestNode AddNode(int number)
    {
        var node = new TestNode($"node-{number}", AddNamespace($"n{number}"), IPAddress.Parse($"10.213.0.{number}"), IPAddress.Parse($"fd13::{number}"));
        Run("ip", "netns", "exec", node.Netns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
        return node;
    }

    internal static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardError = true })!;
        var error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {error}");
    }
}

/// <summary>A CNI agent that is not ours: a Python program that sends descriptors of network namespaces.</summary>
internal sealed class CniAgent : IAsyncDisposable
{
    private readonly Peer _peer;
    private int _last;

    private CniAgent(string path)
    {
        Path = path;
        _peer = Peer.Start("python3", "-u", System.IO.Path.Combine(AppContext.BaseDirectory, "Scripts", "cni_agent.py"), path);
    }

    /// <summary>Where it listens.</summary>
    public string Path { get; }

    public static CniAgent Start(string path) => new(path);

    public Task<string> AddAsync(TestPod pod) => AddAsync(pod.Uid, pod.Name, pod.ServiceAccount, pod.Netns);

    public Task<string> AddAsync(string uid, string name, string serviceAccount, string netns) => AskAsync($"add {uid} shop {name} {serviceAccount} {netns}");

    public Task<string> EndSnapshotAsync() => AskAsync("snapshot");

    /// <summary>Waits until ztunnels have connected so many times in all; what is told then, is told to the last.</summary>
    public Task WaitAsync(int connections) => AskAsync($"wait {connections}");

    /// <summary>Sends a command, and returns the answer: <c>ack</c>, <c>nack why</c>, <c>lost why</c>.</summary>
    public async Task<string> AskAsync(string command)
    {
        var number = Interlocked.Increment(ref _last);
        await _peer.TellAsync($"{number} {command}");
        var answer = await _peer.SaysAsync($"{number} ");
        var words = command.Split(' ');
        return answer[(words[0] is "add" or "keep" or "del" ? words[0].Length + words[1].Length + 2 : words[0].Length + 1)..];
    }

    public ValueTask DisposeAsync() => _peer.DisposeAsync();
}
