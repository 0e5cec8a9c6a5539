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

    private NodeNetwork _network = null!;
    private TestPod _web = null!;
    private TestPod _other = null!;
    private TestPod _cart = null!;
    private TestPod _pay = null!;
    private CniAgent[] _agents = [];
    private Peer[] _ztunnels = [];

    public async Task InitializeAsync()
    {
        if (RequiresNamespacesAttribute.WhySkip() is not null)
        {
            return;
        }

        _network = NodeNetwork.Create();
        (_web, _other) = (_network.AddPod(_network.First, "web"), _network.AddPod(_network.First, "other"));
        (_cart, _pay) = (_network.AddPod(_network.Second, "cart"), _network.AddPod(_network.Second, "pay"));
        WritePolicies("");
        foreach (var pod in new[] { _web, _other, _cart, _pay })
        {
            NodeNetwork.Redirect(pod, "--dns");
        }

        _agents = [CniAgent.Start(Path.Combine(_network.Directory, "cni1.sock")), CniAgent.Start(Path.Combine(_network.Directory, "cni2.sock"))];
        _ztunnels = [_network.Ztunnel(_network.First, _agents[0]), _network.Ztunnel(_network.Second, _agents[1])];
        await TellAsync(_agents[0], 1, _web, _other);
        await TellAsync(_agents[1], 1, _cart, _pay);
    }

    public async Task DisposeAsync()
    {
        foreach (var disposable in _ztunnels.Concat<IAsyncDisposable>(_agents).Append(_network).Where(one => one is not null))
        {
            await disposable.DisposeAsync();
        }
    }

    [RequiresNamespaces]
    public async Task Unmodified_programs_talk_through_the_mesh_with_their_own_addresses_and_nothing_can_be_read_on_the_wire()
    {
        const string Secret = "the-page-that-nobody-may-read";
        var capture = Path.Combine(_network.Directory, "wire.pcap");
        await File.WriteAllTextAsync(Path.Combine(_network.Directory, "nginx.conf"), $$"""
            pid nginx.pid; error_log stderr; daemon off; user root;
            events {}
            http {
                access_log /dev/stdout; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
                server { listen 8080; listen [::]:8080; location / { return 200 "{{Secret}} for $remote_addr\n"; } }
            }
            """);
        await using var tshark = NodeNetwork.Start(_network.First.Netns, "tshark", "-i", "eth0", "-w", capture, "-P", "-l");
        await tshark.LogsAsync("Capturing on");
        await using var nginx = NodeNetwork.Start(_cart.Netns, "nginx", "-p", _network.Directory, "-c", "nginx.conf");
        await using var redis = NodeNetwork.Start(_pay.Netns, "redis-server", "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "");
        await using var services = NodeNetwork.Start(_web.Netns, "python3", "-u", Agent("services.py"));
        await redis.LogsAsync("Ready to accept connections");
        await services.LogsAsync("serving");

        // By the address of the service, and by each of the pod's own.
        Assert.Equal($"{Secret} for {_web.Address}", await CurlAsync(_web, "http://10.96.0.2/"));
        Assert.Equal($"{Secret} for {_web.Address}", await CurlAsync(_web, $"http://{_cart.Address}:8080/"));
        Assert.Equal($"{Secret} for {_web.Address6}", await CurlAsync(_web, $"http://[{_cart.Address6}]:8080/"));

        // By its name, which the ztunnel resolves; within one node as between two.
        Assert.Equal($"{Secret} for {_web.Address}", await CurlAsync(_web, "http://cart.shop/"));
        Assert.Equal($"{Secret} for {_pay.Address}", await CurlAsync(_pay, "http://cart/"));

        // Somebody who waits for the other to speak first, and the other way round over the wire.
        var smtp = await NodeNetwork.RunAsync(_pay.Netns, "python3", "-c", $"import smtplib; s = smtplib.SMTP('{_web.Address}', 25, timeout=20); print(s.noop()); print(s.quit())");
        Assert.Contains("250", smtp.Output, StringComparison.Ordinal);
        Assert.Contains("221", smtp.Output, StringComparison.Ordinal);
        Assert.Contains("OK", (await NodeNetwork.RunAsync(_web.Netns, "redis-cli", "-h", "10.96.0.3", "set", "key", Secret)).Output, StringComparison.Ordinal);
        Assert.Contains(Secret, (await NodeNetwork.RunAsync(_other.Netns, "redis-cli", "-h", _pay.Address6.ToString(), "get", "key")).Output, StringComparison.Ordinal);

        await _ztunnels[0].LogsAsync("connection complete", $"src.addr={_web.Address}:", $"dst.addr={_cart.Address}:15008", "dst.service=\"cart.shop.svc.cluster.local\"", "direction=\"outbound\"");
        await _ztunnels[1].LogsAsync("connection complete", $"src.addr={_web.Address}:", "src.identity=\"spiffe://cluster.local/ns/shop/sa/web\"", "direction=\"inbound\"");
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
        WritePolicies($$"""
            {{Strict}}
            - {name: not-other, namespace: shop, scope: Namespace, action: Deny, rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/other], destinationPorts: [7]}]]]}
            """);
        await using var services = NodeNetwork.Start(_cart.Netns, "python3", "-u", Agent("services.py"));
        await services.LogsAsync("serving");
        await Eventually.UntilAsync("the policy denies", async () => (await EchoAsync(_other.Netns, _cart.Address)).Length == 0);
        Assert.Equal("hello", await EchoAsync(_web.Netns, _cart.Address));
        Assert.Equal("hello", await EchoAsync(_pay.Netns, _cart.Address6));
        Assert.Equal("", await EchoAsync(_other.Netns, _cart.Address6));
        await _ztunnels[1].LogsAsync("src.workload=\"other-0\"", "policy rejection: explicitly denied by: shop/not-other, rule 1");

        // Whoever is not in the mesh comes in plain text, which strict mutual TLS denies; the node's probes pass once the node is told to mark them.
        Assert.Equal("", await EchoAsync(_network.First.Netns, _cart.Address));
        await _ztunnels[1].LogsAsync($"src.addr={_network.First.Address}:", "direction=\"inbound\"", "policy rejection");
        Assert.Equal("", await EchoAsync(_network.Second.Netns, _cart.Address));
        var probes = await NodeNetwork.RunAsync(_network.Second.Netns, "dotnet", Executable.PathOf("Mesh.Cli"), "redirect", "add-probes", "--pod", _cart.Address.ToString(), "--pod", _cart.Address6.ToString());
        Assert.True(probes.Status == 0, probes.Output);
        Assert.Equal("hello", await EchoAsync(_network.Second.Netns, _cart.Address));
        Assert.Equal("hello", await EchoAsync(_network.Second.Netns, _cart.Address6));

        // Without the policy, plain text is passed through, from the client's own address.
        WritePolicies("");
        await Eventually.UntilAsync("the policy is gone", async () => await EchoAsync(_network.First.Netns, _cart.Address) == "hello");
        Assert.Contains($"ready for {_network.First.Address}", (await NodeNetwork.RunAsync(_network.First.Netns, "python3", "-c", Client(_cart.Address, 25, ""))).Output, StringComparison.Ordinal);
    }

    // Mirrors ztunnel §15.2: nobody can talk to a port of the proxy so that it calls itself.
    [RequiresNamespaces]
    public async Task Calls_to_the_ports_of_the_proxy_fail_and_never_loop()
    {
        TestPod[] callers = [_web, _cart];
        int[] ports = [15001, 15006, 15008, 15080, 15020, 15021];
        foreach (var caller in callers)
        {
            foreach (var target in new[] { IPAddress.Loopback, IPAddress.IPv6Loopback, caller.Address, caller.Address6, _other.Address, _pay.Address6 })
            {
                var results = await NodeNetwork.RunAsync(caller.Netns, "python3", "-c", Scan(target, ports));
                Assert.True(results.Status == 0, results.Output);
                Assert.DoesNotContain("answered", results.Output, StringComparison.Ordinal);
            }
        }

        // From outside the mesh, too.
        var fromNode = await NodeNetwork.RunAsync(_network.First.Netns, "python3", "-c", Scan(_cart.Address, [15001, 15006, 15008]));
        Assert.DoesNotContain("answered", fromNode.Output, StringComparison.Ordinal);
        foreach (var ztunnel in _ztunnels)
        {
            // A loop would have logged thousands of connections, or none as it goes on.
            Assert.InRange(ztunnel.Output.Split('\n').Count(line => line.Contains("\taccess\t", StringComparison.Ordinal)), 1, 300);
        }

        await using var services = NodeNetwork.Start(_cart.Netns, "python3", "-u", Agent("services.py"));
        await services.LogsAsync("serving");
        Assert.Equal("hello", await EchoAsync(_web.Netns, _cart.Address));
    }

    [RequiresNamespaces]
    public async Task A_new_ztunnel_takes_over_from_an_old_one_and_nobody_is_refused()
    {
        await using var services = NodeNetwork.Start(_cart.Netns, "python3", "-u", Agent("services.py"));
        await services.LogsAsync("serving");
        await using var old = _network.Ztunnel(_network.First, _agents[0], ("CONNECTION_TERMINATION_DEADLINE", "60s"));
        await TellAsync(_agents[0], 2, _web, _other);
        await old.LogsAsync("pod uid-web");
        _ztunnels[0].Signal("TERM");
        Assert.Equal(0, await _ztunnels[0].ExitAsync());

        await using var load = NodeNetwork.Start(_web.Netns, "python3", "-u", Agent("load.py"), _cart.Address.ToString(), "7", "500");
        await load.LogsAsync("open");
        await using var young = _network.Ztunnel(_network.First, _agents[0]);
        await TellAsync(_agents[0], 3, _web, _other);
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
    public async Task What_is_open_at_the_deadline_is_cut_and_listed()
    {
        await using var services = NodeNetwork.Start(_cart.Netns, "python3", "-u", Agent("services.py"));
        await services.LogsAsync("serving");
        await using var load = NodeNetwork.Start(_web.Netns, "python3", "-u", Agent("load.py"), _cart.Address.ToString(), "7", "5");
        await load.LogsAsync("open");
        _ztunnels[0].Signal("TERM");
        await _ztunnels[0].LogsAsync("still open at the deadline, and cut: outbound connection", $"to {_cart.Address}:15008");
        Assert.Equal(0, await _ztunnels[0].ExitAsync());
        await _ztunnels[0].LogsAsync("connection complete", "connection closed due to connection drain");
    }

    private void WritePolicies(string policies) => _network.WriteMesh(
        """

        - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: [/10.96.0.2], ports: {80: 8080}}
        - {name: pay, namespace: shop, hostname: pay.shop.svc.cluster.local, vips: [/10.96.0.3], ports: {6379: 6379}}
        """,
        policies.Length == 0 ? " []" : policies,
        (_cart, "shop/cart.shop.svc.cluster.local: {80: 8080}"),
        (_pay, "shop/pay.shop.svc.cluster.local: {6379: 6379}"));

    private static async Task TellAsync(CniAgent agent, int connection, params TestPod[] pods)
    {
        await agent.WaitAsync(connection);
        foreach (var pod in pods)
        {
            Assert.Equal("ack", await agent.AddAsync(pod));
        }

        Assert.Equal("ack", await agent.EndSnapshotAsync());
    }

    private static string Agent(string file) => Path.Combine(AppContext.BaseDirectory, "Agents", file);

    private static async Task<string> CurlAsync(TestPod from, string url) => (await NodeNetwork.RunAsync(from.Netns, "curl", "-sS", "--max-time", "20", "--retry", "20", "--retry-connrefused", "--retry-delay", "0", url)).Output.Trim();

    private static async Task<string> EchoAsync(string netns, IPAddress address) => (await NodeNetwork.RunAsync(netns, "python3", "-c", Client(address, 7, "hello"))).Output.Trim();

    // Says something, and prints what it hears, which is nothing when it is cut off.
    private static string Client(IPAddress address, int port, string text) => $"""
        import socket
        s = socket.create_connection(('{address}', {port}), timeout=15)
        try:
            s.sendall(b'{text}')
            print(s.recv(100).decode())
        except OSError:
            pass
        """;

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
