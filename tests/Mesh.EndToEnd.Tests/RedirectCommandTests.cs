using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary><c>mesh redirect</c> puts its rules in, once however often it is called, and leaves nothing behind.</summary>
public sealed class RedirectCommandTests : IAsyncLifetime
{
    private NodeNetwork _network = null!;
    private string _netns = "";

    public Task InitializeAsync()
    {
        if (RequiresNamespacesAttribute.WhySkip() is null)
        {
            _network = NodeNetwork.Create();
            _netns = _network.AddNamespace("pod");
        }

        return Task.CompletedTask;
    }

    public async Task DisposeAsync() => await (_network?.DisposeAsync() ?? default);

    [RequiresNamespaces]
    public async Task Rules_that_are_put_in_twice_are_there_once_and_taken_out_leave_nothing()
    {
        var before = await RulesAsync();
        await MeshAsync(0, "redirect", "add", "--netns", _netns, "--dns");
        var once = await RulesAsync();
        Assert.Contains("--to-ports 15001", once, StringComparison.Ordinal);
        Assert.Contains("--to-ports 15053", once, StringComparison.Ordinal);
        Assert.Contains("lookup 100", once, StringComparison.Ordinal);
        await MeshAsync(0, "redirect", "add", "--netns", _netns, "--dns");
        Assert.Equal(once, await RulesAsync());
        await MeshAsync(0, "redirect", "remove", "--netns", _netns);
        Assert.Equal(before, await RulesAsync());
        await MeshAsync(0, "redirect", "remove", "--netns", _netns);
    }

    [RequiresNamespaces]
    public async Task A_namespace_that_is_not_there_is_named_in_the_error()
    {
        var output = await MeshAsync(1, "redirect", "add", "--netns", "no-such-namespace");
        Assert.Contains("--netns is 'no-such-namespace'; allowed: ", output, StringComparison.Ordinal);
    }

    [RequiresNamespaces]
    public async Task An_interface_that_could_be_another_rule_is_refused()
    {
        var output = await MeshAsync(1, "redirect", "show", "--virtual-interface", "x -j DROP");
        Assert.Contains("--virtual-interface is 'x -j DROP'; allowed: ", output, StringComparison.Ordinal);
    }

    private static async Task<string> MeshAsync(int status, params string[] arguments)
    {
        await using var mesh = Peer.Start("dotnet", [Executable.PathOf("Mesh.Cli"), .. arguments]);
        Assert.Equal(status, await mesh.ExitAsync());
        return mesh.Output;
    }

    // Without counters, and without the empty tables that looking at them makes.
    private async Task<string> RulesAsync() => (await NodeNetwork.RunAsync(
        _netns,
        "sh",
        "-c",
        "for t in nat mangle raw; do iptables -t $t -S; ip6tables -t $t -S; done; ip rule; ip -6 rule; ip route show table 100 2> /dev/null; ip -6 route show table 100 2> /dev/null")).Output;
}
