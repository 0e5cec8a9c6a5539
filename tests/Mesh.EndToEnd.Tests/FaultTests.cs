using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>What goes wrong around the proxies ends in one line that says what it was, and nothing else suffers.</summary>
public sealed class FaultTests : IAsyncLifetime
{
    private RedirectedMesh _mesh = null!;

    public async Task InitializeAsync()
    {
        if (RequiresNamespacesAttribute.WhySkip() is null)
        {
            _mesh = await RedirectedMesh.StartAsync();
        }
    }

    public async Task DisposeAsync() => await (_mesh?.DisposeAsync() ?? default);

    [RequiresNamespaces]
    public async Task An_application_that_refuses_hangs_or_resets_is_told_and_others_go_on()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var resetting = NodeNetwork.Start(_mesh.Cart.Netns, "python3", "-u", "-c", """
            import socket, struct
            server = socket.create_server(('0.0.0.0', 9))
            print('here')
            while True:
                client, _ = server.accept()
                client.recv(1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                client.close()
            """);
        await resetting.LogsAsync("here");

        // Nobody there; somebody whose packets are lost; somebody who resets.
        Assert.Equal("reset", await AskAsync(81));
        await _mesh.Ztunnels[1].LogsAsync("connection complete", $"cannot connect to {_mesh.Cart.Address}:81: Connection refused");
        await _mesh.Ztunnels[0].LogsAsync("connection complete", "error=\"http status: 503\"");
        await NodeNetwork.RunAsync(_mesh.Cart.Netns, "iptables", "-I", "INPUT", "-p", "tcp", "--dport", "82", "-j", "DROP");
        var hanging = AskAsync(82);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
        Assert.Equal("reset", await hanging);
        await _mesh.Ztunnels[1].LogsAsync("connection complete", $"the application at {_mesh.Cart.Address}:82 did not answer within 00:00:10");
        Assert.Equal("reset", await AskAsync(9));
        await _mesh.Ztunnels[1].LogsAsync("connection complete", $"dst.hbone_addr={_mesh.Cart.Address}:9 ", "bytes_recv=5");
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));

        // Each of them is told once on each side.
        foreach (var port in new[] { 81, 82, 9 })
        {
            foreach (var ztunnel in _mesh.Ztunnels)
            {
                await ztunnel.LogsAsync("connection complete", $"dst.hbone_addr={_mesh.Cart.Address}:{port} ");
                Assert.Single(ztunnel.Output.Split('\n'), line => line.Contains("\taccess\t", StringComparison.Ordinal) && line.Contains($"{_mesh.Cart.Address}:{port} ", StringComparison.Ordinal));
            }
        }
    }

    [RequiresNamespaces]
    public async Task A_peer_that_is_killed_ends_its_connections_and_the_next_one_is_found()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var load = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", RedirectedMesh.Script("load.py"), _mesh.Cart.Address.ToString(), "7", "5");
        await load.LogsAsync("open");
        _mesh.Ztunnels[1].Signal("KILL");
        await _mesh.Ztunnels[1].ExitAsync();
        await _mesh.Ztunnels[0].LogsAsync("connection complete", $"dst.addr={_mesh.Cart.Address}:15008", "direction=\"outbound\"", "error=");
        _mesh.Ztunnels[1] = _mesh.Network.Ztunnel(_mesh.Network.Second, _mesh.Agents[1]);
        await RedirectedMesh.TellAsync(_mesh.Agents[1], 2, _mesh.Cart, _mesh.Pay);
        await Eventually.UntilAsync("the new peer is reached", async () => await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address) == "hello");
    }

    // Nothing tells of it but the silence: keep-alive finds it (ztunnel §2.7).
    [RequiresNamespaces]
    public async Task A_peer_that_is_cut_off_is_found_dead_while_the_others_go_on()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var near = await RedirectedMesh.ServeAsync(_mesh.Other);
        await using var load = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", RedirectedMesh.Script("load.py"), _mesh.Cart.Address.ToString(), "7", "3");
        await load.LogsAsync("open");
        foreach (var direction in new[] { "-i", "-o" })
        {
            await NodeNetwork.RunAsync(_mesh.Network.First.Netns, "iptables", "-I", "FORWARD", direction, "eth0", "-j", "DROP");
        }

        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Other.Address));
        var noticed = TimeSpan.FromSeconds(60);
        await Eventually.UntilAsync(
            "the silence is noticed",
            () => Task.FromResult(_mesh.Ztunnels[0].Output.Split('\n').Any(line => line.Contains($"dst.addr={_mesh.Cart.Address}:15008", StringComparison.Ordinal) && line.Contains("error=", StringComparison.Ordinal))),
            noticed);
        foreach (var direction in new[] { "-i", "-o" })
        {
            await NodeNetwork.RunAsync(_mesh.Network.First.Netns, "iptables", "-D", "FORWARD", direction, "eth0", "-j", "DROP");
        }

        await Eventually.UntilAsync("the peer is reached again", async () => await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address) == "hello");
    }

    [RequiresNamespaces]
    public async Task A_client_that_never_reads_holds_up_nobody_else()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var greedy = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", "-c", $"""
            import socket, time
            s = socket.create_connection(('{_mesh.Cart.Address}', 7), timeout=15)
            s.setblocking(False)
            sent = 0
            quiet = 0
            while quiet < 20:
                try:
                    sent += s.send(b'x' * 65536)
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    time.sleep(0.05)
            print('stuck after', sent)
            time.sleep(60)
            """);
        await greedy.LogsAsync("stuck after");
        for (var i = 0; i < 5; i++)
        {
            Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
        }
    }

    // Shorter than keep-alive waits.
    [RequiresNamespaces]
    public async Task A_ztunnel_that_stands_still_for_a_while_holds_up_what_goes_through_it_alone_and_that_goes_on()
    {
        const long Bound = 64L * 1024 * 1024;
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var near = await RedirectedMesh.ServeAsync(_mesh.Other);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Other.Address));
        await using var stalled = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", "-c", $"""
            import hashlib, os, select, socket
            s = socket.create_connection(('{_mesh.Cart.Address}', 7), timeout=15)
            s.setblocking(False)
            piece = os.urandom(1 << 20)
            sent, heard, out, back, told = 0, 0, hashlib.sha256(), hashlib.sha256(), False
            print('begun')
            while told < 2 or heard < sent:
                readable, writable, _ = select.select([s], [s] if told < 2 else [], [], 1 if told < 1 else 30)
                if not readable and not writable:
                    told += 1
                    assert told == 1, 'it never went on'
                    print('stuck after', sent)
                if readable:
                    data = s.recv(1 << 20)
                    assert data, 'the end'
                    back.update(data)
                    heard += len(data)
                    told *= 2
                if writable:
                    count = s.send(piece)
                    out.update(piece[:count])
                    sent += count
            print('all is back' if out.digest() == back.digest() else 'something else came back')
            """);
        await stalled.LogsAsync("begun");
        _mesh.Ztunnels[1].Signal("STOP");
        var before = ResidentOctets(_mesh.Ztunnels[0]);
        await stalled.LogsAsync("stuck after");
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Other.Address));
        }

        Assert.InRange(ResidentOctets(_mesh.Ztunnels[0]) - before, long.MinValue, Bound);
        _mesh.Ztunnels[1].Signal("CONT");
        await stalled.LogsAsync("all is back");
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
    }

    [RequiresNamespaces]
    public async Task When_file_descriptors_are_used_up_connections_wait_or_fail_and_when_there_are_some_again_all_is_well()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
        var open = Directory.GetFileSystemEntries($"/proc/{_mesh.Ztunnels[0].Id}/fd").Length;
        var limited = await NodeNetwork.RunAsync(_mesh.Network.First.Netns, "prlimit", "--pid", _mesh.Ztunnels[0].Id.ToString(System.Globalization.CultureInfo.InvariantCulture), $"--nofile={open + 20}:{open + 20}");
        Assert.True(limited.Status == 0, limited.Output);
        await using (var many = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", "-c", $"""
            import socket, time
            held = [socket.create_connection(('{_mesh.Cart.Address}', 7), timeout=15) for _ in range(60)]
            print('held')
            time.sleep(60)
            """))
        {
            await many.LogsAsync("held");
            await _mesh.Ztunnels[0].LogsAsync("Cannot accept on");
        }

        await Eventually.UntilAsync("connections are taken again", async () => await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address) == "hello");
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Pay.Netns, _mesh.Cart.Address));
    }

    [RequiresNamespaces]
    public async Task A_full_disk_under_the_log_stops_no_traffic()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var full = Peer.Start(
            _mesh.Network.Settings(_mesh.Network.First, _mesh.Agents[0]),
            "ip",
            ["netns", "exec", _mesh.Network.AddNamespace("full"), "sh", "-c", $"exec dotnet {Executable.PathOf("Mesh.Ztunnel")} > /dev/full"]);
        await RedirectedMesh.TellAsync(_mesh.Agents[0], 2, _mesh.Web, _mesh.Other);
        _mesh.Ztunnels[0].Signal("TERM");
        Assert.Equal(0, await _mesh.Ztunnels[0].ExitAsync());
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
        }
    }

    // What a client hears that says "hello": an answer, nothing at an end, or that it was reset behind what it said.
    private async Task<string> AskAsync(int port) => (await NodeNetwork.RunAsync(_mesh.Web.Netns, "python3", "-c", $"""
        import socket
        s = socket.create_connection(('{_mesh.Cart.Address}', {port}), timeout=20)
        s.sendall(b'hello')
        try:
            print(s.recv(100).decode())
        except ConnectionResetError:
            print('reset')
        """)).Output.Trim();

    private static long ResidentOctets(Peer ztunnel)
    {
        const string Label = "RssAnon:";
        var line = File.ReadLines($"/proc/{ztunnel.Id}/status").First(line => line.StartsWith(Label, StringComparison.Ordinal));
        return 1024 * long.Parse(line[Label.Length..].Replace("kB", "", StringComparison.Ordinal), System.Globalization.CultureInfo.InvariantCulture);
    }
}
