using Mesh.Core.Identity;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary><c>mesh control-plane</c> in a network namespace that a wire leads to from each ztunnel's.</summary>
internal sealed class ControlPlaneProcess : IAsyncDisposable
{
    private const int Wires = 4;
    private readonly NodeNetwork _network;
    private readonly string _netns;
    private Peer? _peer;

    private ControlPlaneProcess(NodeNetwork network)
    {
        _network = network;
        _netns = network.AddNamespace("cp");
        File.WriteAllLines(
            Path.Combine(network.Directory, "clients.yaml"),
            ["clients:", .. new[] { network.First, network.Second }.Select(node => $"- {{node: {node.Name}, token: {Token(node)}}}")]);
        foreach (var node in new[] { network.First, network.Second })
        {
            File.WriteAllText(TokenOf(node), Token(node));
        }
    }

    public string RootPath => Path.Combine(_network.Directory, "ca", DevelopmentCertificateAuthority.RootCertificateFile);

    public string Output => _peer?.Output ?? "";

    public static ControlPlaneProcess Create(NodeNetwork network) => new(network);

    /// <summary>The address by which the n-th ztunnel calls it.</summary>
    public string AddressFor(int ztunnel) => $"10.214.{ztunnel}.1:15012";

    /// <summary>The path of a node's token.</summary>
    public string TokenOf(TestNode node) => Path.Combine(_network.Directory, $"token-{node.Name}");

    /// <summary>Joins the network namespace of the n-th ztunnel.</summary>
    public void Join(string netns, int ztunnel)
    {
        NodeNetwork.Run("ip", "link", "add", "cp0", "netns", netns, "type", "veth", "peer", "name", $"z{ztunnel}", "netns", _netns);
        NodeNetwork.Run("ip", "-n", netns, "address", "add", $"10.214.{ztunnel}.2/24", "dev", "cp0");
        NodeNetwork.Run("ip", "-n", netns, "link", "set", "cp0", "up");
        NodeNetwork.Run("ip", "-n", _netns, "address", "add", $"10.214.{ztunnel}.1/24", "dev", $"z{ztunnel}");
        NodeNetwork.Run("ip", "-n", _netns, "link", "set", $"z{ztunnel}", "up");
    }

    public async Task StartAsync()
    {
        string[] names = [.. Enumerable.Range(1, Wires).SelectMany(ztunnel => new[] { "--name", $"10.214.{ztunnel}.1" })];
        _peer = NodeNetwork.Start(_netns, "dotnet", [Executable.PathOf("Mesh.Cli"), "control-plane", "--config", _network.Directory, .. names]);
        await _peer.SaysAsync("listening on ");
    }

    /// <summary>Kills it.</summary>
    public async Task StopAsync()
    {
        await (_peer?.DisposeAsync() ?? default);
        _peer = null;
    }

    public async ValueTask DisposeAsync() => await StopAsync();

    private static string Token(TestNode node) => $"the-token-of-{node.Name}";
}
