using System.Net;
using System.Text.Json;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Two nodes with two pods each, redirected by <c>mesh redirect</c>: unmodified programs talk through two ztunnels and know nothing of them.</summary>
public sealed class InPodTests : IAsyncLifetime
{
    private const string Strict = """

        - {name: strict, namespace: shop, scope: Namespace, action: Deny, rules: [[[{notPrincipals: [!Presence []]}]]]}
        """;

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
    public async Task Unmodified_programs_talk_through_the_mesh_with_their_own_addresses_and_nothing_can_be_read_on_the_wire()
    {
        const string Secret = "the-page-that-nobody-may-read";
        var capture = Path.Combine(_mesh.Network.Directory, "wire.pcap");
        await File.WriteAllTextAsync(Path.Combine(_mesh.Network.Directory, "nginx.conf"), $$"""
            pid nginx.pid; error_log stderr; daemon off; user root;
            events {}
            http {
                access_log /dev/stdout; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
                server { listen 8080; listen [::]:8080; location / { return 200 "{{Secret}} for $remote_addr\n"; } }
            }
            """);
        await using var tshark = NodeNetwork.Start(_mesh.Network.First.Netns, "tshark", "-i", "eth0", "-w", capture, "-P", "-l");
        await tshark.LogsAsync("Capturing on");
        await using var nginx = NodeNetwork.Start(_mesh.Cart.Netns, "nginx", "-p", _mesh.Network.Directory, "-c", "nginx.conf");
        await using var redis = NodeNetwork.Start(_mesh.Pay.Netns, "redis-server", "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "");
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Web);
        await redis.LogsAsync("Ready to accept connections");

        // By the address of the service, and by each of the pod's own.
        Assert.Equal($"{Secret} for {_mesh.Web.Address}", await CurlAsync(_mesh.Web, "http://10.96.0.2/"));
        Assert.Equal($"{Secret} for {_mesh.Web.Address}", await CurlAsync(_mesh.Web, $"http://{_mesh.Cart.Address}:8080/"));
        Assert.Equal($"{Secret} for {_mesh.Web.Address6}", await CurlAsync(_mesh.Web, $"http://[{_mesh.Cart.Address6}]:8080/"));

        // By its name, which the ztunnel resolves; within one node as between two.
        Assert.Equal($"{Secret} for {_mesh.Web.Address}", await CurlAsync(_mesh.Web, "http://cart.shop/"));
        Assert.Equal($"{Secret} for {_mesh.Pay.Address}", await CurlAsync(_mesh.Pay, "http://cart/"));

        // Somebody who waits for the other to speak first, and the other way round over the wire.
        var smtp = await NodeNetwork.RunAsync(_mesh.Pay.Netns, "python3", "-c", $"import smtplib; s = smtplib.SMTP('{_mesh.Web.Address}', 25, timeout=20); print(s.noop()); print(s.quit())");
        Assert.Contains("250", smtp.Output, StringComparison.Ordinal);
        Assert.Contains("221", smtp.Output, StringComparison.Ordinal);
        Assert.Contains("OK", (await NodeNetwork.RunAsync(_mesh.Web.Netns, "redis-cli", "-h", "10.96.0.3", "set", "key", Secret)).Output, StringComparison.Ordinal);
        Assert.Contains(Secret, (await NodeNetwork.RunAsync(_mesh.Other.Netns, "redis-cli", "-h", _mesh.Pay.Address6.ToString(), "get", "key")).Output, StringComparison.Ordinal);

        await _mesh.Ztunnels[0].LogsAsync("connection complete", $"src.addr={_mesh.Web.Address}:", $"dst.addr={_mesh.Cart.Address}:15008", "dst.service=\"cart.shop.svc.cluster.local\"", "direction=\"outbound\"");
        await _mesh.Ztunnels[1].LogsAsync("connection complete", $"src.addr={_mesh.Web.Address}:", "src.identity=\"spiffe://cluster.local/ns/shop/sa/web\"", "direction=\"inbound\"");
        tshark.Signal("INT");
        await tshark.ExitAsync();

        // Between the nodes there is TCP to port 15008 and nothing else, and TLS 1.3 in it.
        Assert.Equal("", await FieldsAsync(capture, "(tcp and not tcp.port == 15008) or udp", "frame.protocols"));
        Assert.Equal(["0x0304"], (await FieldsAsync(capture, "tls.handshake.type == 2", "tls.handshake.extensions.supported_version")).Split('\n', StringSplitOptions.RemoveEmptyEntries).Distinct());
        Assert.Equal(-1, (await File.ReadAllBytesAsync(capture)).AsSpan().IndexOf(System.Text.Encoding.ASCII.GetBytes(Secret)));
    }

    [RequiresNamespaces]
    public async Task Policy_holds_for_tunnels_and_for_plain_text_and_probes_of_the_node_pass_by_it()
    {
        _mesh.WritePolicies($$"""
            {{Strict}}
            - {name: not-other, namespace: shop, scope: Namespace, action: Deny, rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/other], destinationPorts: [7]}]]]}
            """);
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await Eventually.UntilAsync("the policy denies", async () => (await RedirectedMesh.EchoAsync(_mesh.Other.Netns, _mesh.Cart.Address)).Length == 0);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Pay.Netns, _mesh.Cart.Address6));
        Assert.Equal("", await RedirectedMesh.EchoAsync(_mesh.Other.Netns, _mesh.Cart.Address6));
        await _mesh.Ztunnels[1].LogsAsync("src.workload=\"other-0\"", "policy rejection: explicitly denied by: shop/not-other, rule 1");

        // Whoever is not in the mesh comes in plain text, which strict mutual TLS denies; the node's probes pass once the node is told to mark them.
        Assert.Equal("", await RedirectedMesh.EchoAsync(_mesh.Network.First.Netns, _mesh.Cart.Address));
        await _mesh.Ztunnels[1].LogsAsync($"src.addr={_mesh.Network.First.Address}:", "direction=\"inbound\"", "policy rejection");
        Assert.Equal("", await RedirectedMesh.EchoAsync(_mesh.Network.Second.Netns, _mesh.Cart.Address));
        var probes = await NodeNetwork.RunAsync(_mesh.Network.Second.Netns, "dotnet", Executable.PathOf("Mesh.Cli"), "redirect", "add-probes", "--pod", _mesh.Cart.Address.ToString(), "--pod", _mesh.Cart.Address6.ToString());
        Assert.True(probes.Status == 0, probes.Output);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Network.Second.Netns, _mesh.Cart.Address));
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Network.Second.Netns, _mesh.Cart.Address6));

        // Without the policy, plain text is passed through, from the client's own address.
        _mesh.WritePolicies("");
        await Eventually.UntilAsync("the policy is gone", async () => await RedirectedMesh.EchoAsync(_mesh.Network.First.Netns, _mesh.Cart.Address) == "hello");
        Assert.Contains($"ready for {_mesh.Network.First.Address}", (await NodeNetwork.RunAsync(_mesh.Network.First.Netns, "python3", "-c", RedirectedMesh.Client(_mesh.Cart.Address, 25, ""))).Output, StringComparison.Ordinal);
    }

    // Mirrors ztunnel §15.2: nobody can talk to a port of the proxy so that it calls itself.
    [RequiresNamespaces]
    public async Task Calls_to_the_ports_of_the_proxy_fail_and_never_loop()
    {
        TestPod[] callers = [_mesh.Web, _mesh.Cart];
        int[] ports = [15001, 15006, 15008, 15080, 15020, 15021];
        foreach (var caller in callers)
        {
            foreach (var target in new[] { IPAddress.Loopback, IPAddress.IPv6Loopback, caller.Address, caller.Address6, _mesh.Other.Address, _mesh.Pay.Address6 })
            {
                var results = await NodeNetwork.RunAsync(caller.Netns, "python3", "-c", Scan(target, ports));
                Assert.True(results.Status == 0, results.Output);
                Assert.DoesNotContain("answered", results.Output, StringComparison.Ordinal);
            }
        }

        // From outside the mesh, too: from a pod that no ztunnel has, and from the node itself.
        foreach (var caller in new[] { _mesh.Network.AddPod(_mesh.Network.First, "bare").Netns, _mesh.Network.First.Netns })
        {
            foreach (var target in new[] { _mesh.Cart.Address, _mesh.Cart.Address6 })
            {
                var results = await NodeNetwork.RunAsync(caller, "python3", "-c", Scan(target, [15000, 15053, .. ports]));
                Assert.True(results.Status == 0, results.Output);
                Assert.DoesNotContain("answered", results.Output, StringComparison.Ordinal);
                Assert.Equal("silent", (await NodeNetwork.RunAsync(caller, "python3", "-c", Query(target, 15053))).Output.Trim());
            }
        }

        // The scan does hear what can be heard: the pod's own resolver answers the pod.
        Assert.Equal("answered", (await NodeNetwork.RunAsync(_mesh.Cart.Netns, "python3", "-c", Query(IPAddress.Loopback, 15053))).Output.Trim());
        foreach (var ztunnel in _mesh.Ztunnels)
        {
            // A loop would have logged thousands of connections, or none as it goes on.
            Assert.InRange(ztunnel.Output.Split('\n').Count(line => line.Contains("\taccess\t", StringComparison.Ordinal)), 1, 300);
        }

        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        Assert.Equal("hello", await RedirectedMesh.EchoAsync(_mesh.Web.Netns, _mesh.Cart.Address));
    }

    [RequiresNamespaces]
    public async Task A_new_ztunnel_takes_over_from_an_old_one_and_nobody_is_refused()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var old = _mesh.Network.Ztunnel(_mesh.Network.First, _mesh.Agents[0], ("CONNECTION_TERMINATION_DEADLINE", "60s"));
        await RedirectedMesh.TellAsync(_mesh.Agents[0], 2, _mesh.Web, _mesh.Other);
        await old.LogsAsync("pod uid-web");
        _mesh.Ztunnels[0].Signal("TERM");
        Assert.Equal(0, await _mesh.Ztunnels[0].ExitAsync());

        await using var load = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", RedirectedMesh.Script("load.py"), _mesh.Cart.Address.ToString(), "7", "500");
        await load.LogsAsync("open");
        await using var young = _mesh.Network.Ztunnel(_mesh.Network.First, _mesh.Agents[0]);
        await RedirectedMesh.TellAsync(_mesh.Agents[0], 3, _mesh.Web, _mesh.Other);
        await young.LogsAsync("pod uid-web");
        var before = await ReportAsync(load, 1);
        old.Signal("TERM");
        await old.LogsAsync("stopping:");

        // While the old one drains, what it carries goes on, and new connections are the young one's.
        await Eventually.Until("the young one carries", () => young.Output.Split('\n').Count(line => line.Contains("connection complete", StringComparison.Ordinal)) > 20);
        var after = await ReportAsync(load, 2);
        Assert.True(after is { Kept: 500, Broken: 0, Refused: 0, Cut: 0 }, load.Output);
        Assert.True(after.New > before.New && after.Exchanges > before.Exchanges, load.Output);
        await load.TellAsync("quit");
        await load.ExitAsync();
        Assert.Equal(0, await old.ExitAsync());
    }

    [RequiresNamespaces]
    public async Task A_new_ztunnel_takes_over_on_the_side_of_the_servers_and_nobody_is_refused()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var old = _mesh.Network.Ztunnel(_mesh.Network.Second, _mesh.Agents[1], ("CONNECTION_TERMINATION_DEADLINE", "60s"));
        await RedirectedMesh.TellAsync(_mesh.Agents[1], 2, _mesh.Cart, _mesh.Pay);
        _mesh.Ztunnels[1].Signal("TERM");
        Assert.Equal(0, await _mesh.Ztunnels[1].ExitAsync());

        // By tunnel, and in plain text from outside the mesh.
        var bare = _mesh.Network.AddPod(_mesh.Network.First, "bare");
        (TestPod From, IPAddress Source, IPAddress Target)[] ways =
        [
            (_mesh.Web, _mesh.Web.Address, _mesh.Cart.Address),
            (bare, bare.Address, _mesh.Cart.Address),
            (bare, bare.Address6, _mesh.Cart.Address6),
        ];
        var loads = ways.Select(way => NodeNetwork.Start(way.From.Netns, "python3", "-u", RedirectedMesh.Script("load.py"), way.Target.ToString(), "7", "50")).ToArray();
        foreach (var load in loads)
        {
            await load.LogsAsync("open");
        }

        await using var young = _mesh.Network.Ztunnel(_mesh.Network.Second, _mesh.Agents[1]);
        await RedirectedMesh.TellAsync(_mesh.Agents[1], 3, _mesh.Cart, _mesh.Pay);
        var before = await Task.WhenAll(loads.Select(load => ReportAsync(load, 1)));
        old.Signal("TERM");
        await old.LogsAsync("stopping:");
        foreach (var (_, source, _) in ways)
        {
            await Eventually.Until($"the young one carries what {source} begins", () => young.Output.Split('\n').Count(line => IsCarried(line, source)) > 20);
        }

        foreach (var (load, earlier) in loads.Zip(before))
        {
            var after = await ReportAsync(load, 2);
            Assert.True(after is { Kept: 50, Broken: 0, Refused: 0, Cut: 0 }, load.Output);
            Assert.True(after.New > earlier.New && after.Exchanges > earlier.Exchanges, load.Output);
            await load.TellAsync("quit");
            await load.ExitAsync();
            await load.DisposeAsync();
        }

        Assert.Equal(0, await old.ExitAsync());

        static bool IsCarried(string line, IPAddress source) =>
            line.Contains("connection complete", StringComparison.Ordinal) && line.Contains($"src.addr={new IPEndPoint(source, 0).ToString()[..^1]}", StringComparison.Ordinal);
    }

    // Connection tracking would take the client's next connection for the one that the ztunnel has made with the client's address, and it would hang. A client and
    // a pod with few ports to give out would soon meet.
    [RequiresNamespaces]
    public async Task Connections_with_a_clients_address_never_use_a_port_that_the_client_may_use_next()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        var bare = _mesh.Network.AddPod(_mesh.Network.First, "bare");
        foreach (var pod in new[] { bare, _mesh.Cart })
        {
            var (status, output) = await NodeNetwork.RunAsync(pod.Netns, "sh", "-c", "echo 40000 40019 > /proc/sys/net/ipv4/ip_local_port_range");
            Assert.True(status == 0, output);
        }

        const string Open = """
            import socket, sys
            kept = []
            for i in range(8):
                kept.append(socket.create_connection((sys.argv[1], 7), timeout=10))
                kept[-1].sendall(b'x' * 100)
                assert kept[-1].recv(100, socket.MSG_WAITALL) == b'x' * 100
            print('all', len(kept))
            """;
        foreach (var address in new[] { _mesh.Cart.Address, _mesh.Cart.Address6 })
        {
            var (status, output) = await NodeNetwork.RunAsync(bare.Netns, "python3", "-c", Open, address.ToString());
            Assert.True(status == 0 && output.Trim() == "all 8", output);
        }
    }

    [RequiresNamespaces]
    public async Task What_is_open_at_the_deadline_is_cut_and_listed()
    {
        await using var services = await RedirectedMesh.ServeAsync(_mesh.Cart);
        await using var load = NodeNetwork.Start(_mesh.Web.Netns, "python3", "-u", RedirectedMesh.Script("load.py"), _mesh.Cart.Address.ToString(), "7", "5");
        await load.LogsAsync("open");
        _mesh.Ztunnels[0].Signal("TERM");
        await _mesh.Ztunnels[0].LogsAsync("still open at the deadline, and cut: outbound connection", $"to {_mesh.Cart.Address}:15008");
        Assert.Equal(0, await _mesh.Ztunnels[0].ExitAsync());
        await _mesh.Ztunnels[0].LogsAsync("connection complete", "connection closed due to connection drain");
    }

    private static async Task<string> CurlAsync(TestPod from, string url) => (await NodeNetwork.RunAsync(from.Netns, "curl", "-sS", "--max-time", "20", "--retry", "20", "--retry-connrefused", "--retry-delay", "0", url)).Output.Trim();

    // Tries each port with what could be a request to it; says which of them answers as if there were something behind it.
    private static string Scan(IPAddress address, int[] ports) => $"""
        import socket
        for port in [{string.Join(", ", ports)}]:
            for request in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'\x05\x01\x00')[: 2 if port == 15080 else 1]:
                try:
                    s = socket.create_connection(('{address}', port), timeout=5)
                    s.settimeout(15)
                    s.sendall(request)
                    data = s.recv(1000)
                    print(port, 'answered ' + repr(data) if data and not data.startswith(b'HTTP/1.1 400') and data[0] != 0x15 else 'closed')
                except socket.timeout:
                    raise SystemExit(f'{address} port ' + str(port) + ' hangs')
                except OSError as e:
                    print(port, 'failed', e)
        """;

    // Asks over UDP for a name that the mesh knows.
    private static string Query(IPAddress address, int port) => $"""
        import socket
        s = socket.socket(socket.{(address.AddressFamily is System.Net.Sockets.AddressFamily.InterNetwork ? "AF_INET" : "AF_INET6")}, socket.SOCK_DGRAM)
        s.settimeout(2)
        s.connect(('{address}', {port}))
        s.send(b'\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04cart\x04shop\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01')
        try:
            print('answered' if s.recv(1000)[:2] == b'\x00\x07' else 'nonsense')
        except (socket.timeout, ConnectionRefusedError):
            print('silent')
        """;

    private static async Task<string> FieldsAsync(string capture, string filter, string field)
    {
        await using var reader = Peer.Start("sh", "-c", $"tshark -r '{capture}' -d tcp.port==15008,tls -Y '{filter}' -T fields -e {field} 2> /dev/null");
        await reader.ExitAsync();
        return reader.Output;
    }

    private static async Task<LoadReport> ReportAsync(Peer load, int number)
    {
        await load.TellAsync("report");
        return JsonSerializer.Deserialize<LoadReport>(await load.SaysAsync($"report {number}"), JsonSerializerOptions.Web)!;
    }

    private sealed record LoadReport(int Kept, int Broken, long Exchanges, int New, int Refused, int Cut);
}
