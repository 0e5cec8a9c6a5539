using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>A ztunnel and a CNI agent that is not ours: pods come, stay and go, and either side is lost in between (ztunnel §12, §15.11).</summary>
public sealed class CniTests : IAsyncLifetime
{
    private NodeNetwork _network = null!;
    private CniAgent _agent = null!;
    private Peer _ztunnel = null!;

    public Task InitializeAsync()
    {
        if (RequiresNamespacesAttribute.WhySkip() is null)
        {
            _network = NodeNetwork.Create();
            _network.WriteMesh(" []", " []");
            _agent = CniAgent.Start(Path.Combine(_network.Directory, "cni.sock"));
            _ztunnel = _network.Ztunnel(_network.First, _agent);
        }

        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        foreach (var disposable in new IAsyncDisposable[] { _ztunnel, _agent, _network }.Where(one => one is not null))
        {
            await disposable.DisposeAsync();
        }
    }

    [RequiresNamespaces]
    public async Task A_pod_gets_its_proxy_once_and_loses_it_when_it_goes()
    {
        var netns = _network.AddNamespace("a");
        await BeginAsync(1);
        await ExpectReadyAsync(false);
        Assert.Equal("ack", await AddAsync("a", netns));
        Assert.Equal("ack", await AddAsync("a", netns));
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        await ExpectReadyAsync(true);
        Assert.Equal([15001, 15006, 15008, 15053], await ListenersAsync(netns));
        Assert.Equal("ack", await _agent.AskAsync("del a"));
        Assert.Equal("ack", await _agent.AskAsync("del never-there"));
        Assert.Empty(await ListenersAsync(netns));
    }

    [RequiresNamespaces]
    public async Task A_pod_made_anew_under_its_old_name_gets_a_new_proxy()
    {
        var (before, after) = (_network.AddNamespace("a1"), _network.AddNamespace("a2"));
        await BeginAsync(1);
        Assert.Equal("ack", await AddAsync("a", before));
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        Assert.Equal("ack", await AddAsync("a", after));
        Assert.Empty(await ListenersAsync(before));
        Assert.NotEmpty(await ListenersAsync(after));
    }

    [RequiresNamespaces]
    public async Task A_pod_whose_ports_are_taken_is_pending_until_they_are_free()
    {
        var netns = _network.AddNamespace("a");
        await BeginAsync(1);
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        await using (var squatter = NodeNetwork.Start(netns, "python3", "-u", "-c", "import socket,time; s=socket.create_server(('0.0.0.0', 15006)); print('here'); time.sleep(60)"))
        {
            await squatter.LogsAsync("here");
            Assert.Contains("nack cannot listen on", await AddAsync("a", netns), StringComparison.Ordinal);
            await ExpectReadyAsync(false);
            await _ztunnel.LogsAsync("pod a (shop/a-0/a) has no proxy yet");
        }

        await ExpectReadyAsync(true);
        Assert.NotEmpty(await ListenersAsync(netns));
    }

    [RequiresNamespaces]
    public async Task A_lost_agent_leaves_the_proxies_and_a_new_ones_snapshot_is_what_counts()
    {
        var (kept, added, gone) = (_network.AddNamespace("kept"), _network.AddNamespace("added"), _network.AddNamespace("gone"));
        await BeginAsync(1);
        Assert.Equal("ack", await AddAsync("kept", kept));
        Assert.Equal("ack", await AddAsync("gone", gone));
        Assert.Equal("ack", await _agent.EndSnapshotAsync());

        await _agent.DisposeAsync();
        await ExpectReadyAsync(false);
        Assert.NotEmpty(await ListenersAsync(gone));

        _agent = CniAgent.Start(_agent.Path);
        await BeginAsync(1);
        Assert.Equal("ack", await _agent.AskAsync("keep kept"));
        Assert.Equal("ack", await AddAsync("added", added));
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        await ExpectReadyAsync(true);
        Assert.NotEmpty(await ListenersAsync(kept));
        Assert.NotEmpty(await ListenersAsync(added));
        Assert.Empty(await ListenersAsync(gone));
    }

    [RequiresNamespaces]
    public async Task A_lost_ztunnel_is_followed_by_one_that_is_told_all_again()
    {
        var netns = _network.AddNamespace("a");
        await BeginAsync(1);
        Assert.Equal("ack", await AddAsync("a", netns));
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        await _ztunnel.DisposeAsync();
        Assert.StartsWith("lost", await _agent.AskAsync("del a"), StringComparison.Ordinal);

        _ztunnel = _network.Ztunnel(_network.First, _agent);
        await BeginAsync(2);
        Assert.Equal("ack", await AddAsync("a", netns));
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        await ExpectReadyAsync(true);
        Assert.NotEmpty(await ListenersAsync(netns));
    }

    [RequiresNamespaces]
    public async Task What_is_no_protocol_ends_the_ztunnel_with_a_reason()
    {
        await BeginAsync(1);
        Assert.Contains("nack", await _agent.AskAsync("raw ffffffff"), StringComparison.Ordinal);
        Assert.Equal(1, await _ztunnel.ExitAsync());
        await _ztunnel.LogsAsync("the CNI agent does not keep to its protocol");
    }

    [RequiresNamespaces]
    public async Task Two_hundred_pods_leave_nothing_behind()
    {
        const int AtOnce = 20;
        var namespaces = Enumerable.Range(0, AtOnce).Select(number => _network.AddNamespace($"p{number}")).ToList();
        await BeginAsync(1);
        Assert.Equal("ack", await _agent.EndSnapshotAsync());
        await RoundAsync(0);
        await RoundAsync(1);
        var before = Count();
        for (var round = 2; round < 12; round++)
        {
            await RoundAsync(round);
        }

        // What is let go in time may go a moment later.
        await Eventually.Until($"descriptors and threads are as many as before: {before}, now {Count()}", () => Count() is var now && now.Files <= before.Files && now.Threads <= before.Threads + 2);
        Assert.Equal(1, ThreadNamespaces());

        async Task RoundAsync(int round)
        {
            foreach (var netns in namespaces)
            {
                Assert.Equal("ack", await AddAsync($"{netns}-{round}", netns));
            }

            foreach (var netns in namespaces)
            {
                Assert.Equal("ack", await _agent.AskAsync($"del {netns}-{round}"));
            }
        }
    }

    private async Task BeginAsync(int connection)
    {
        await _ztunnel.LogsAsync("\tready");
        await _agent.WaitAsync(connection);
    }

    private Task<string> AddAsync(string uid, string netns) => _agent.AddAsync(uid, $"{uid}-0", uid, netns);

    private async Task ExpectReadyAsync(bool isReady) => await Eventually.UntilAsync($"ready: {isReady}", async () =>
    {
        var (status, output) = await NodeNetwork.RunAsync(_network.LastZtunnel, "curl", "-sS", "--max-time", "5", "http://127.0.0.1:15021/healthz/ready");
        return status == 0 && (output == "ready") == isReady && (isReady || output.Contains("pending: workload proxy manager", StringComparison.Ordinal));
    });

    // The ports that somebody listens on, without those that only processes of the namespace itself have.
    private static async Task<IEnumerable<int>> ListenersAsync(string netns)
    {
        var (_, output) = await NodeNetwork.RunAsync(netns, "ss", "-Htln");
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3])
            .Select(address => int.Parse(address[(address.LastIndexOf(':') + 1)..], System.Globalization.CultureInfo.InvariantCulture))
            .Distinct()
            .Order();
    }

    private (int Files, int Threads) Count() => (Directory.GetFileSystemEntries($"/proc/{_ztunnel.Id}/fd").Length, Directory.GetDirectories($"/proc/{_ztunnel.Id}/task").Length);

    // A thread that was started while another was in a pod's namespace would be there still.
    private int ThreadNamespaces() => Directory.GetDirectories($"/proc/{_ztunnel.Id}/task").Select(task => new FileInfo($"{task}/ns/net").LinkTarget).Distinct().Count();
}
