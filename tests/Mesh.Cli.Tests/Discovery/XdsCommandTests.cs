using System.CommandLine;
using System.Text;
using System.Text.Json.Nodes;
using Mesh.Core.Configuration;
using Mesh.Testing;
using Mesh.Xds;
using static Mesh.Xds.ControlPlanePeer;

namespace Mesh.Cli.Discovery;

/// <summary><c>mesh xds</c> against a scripted server on gRPC's C core.</summary>
public sealed class XdsCommandTests : IAsyncLifetime
{
    private const string Address = "type.googleapis.com/istio.workload.Address";
    private const string Authorization = "type.googleapis.com/istio.security.Authorization";

    private ControlPlanePeer _server = null!;

    // Nothing to begin with where the peer is missing; the tests are skipped then.
    public async Task InitializeAsync()
    {
        if (File.Exists(Protoc))
        {
            _server = await StartAsync();
        }
    }

    public async Task DisposeAsync() => await (_server?.DisposeAsync() ?? default);

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task All_that_a_node_would_get_is_printed_as_a_file_that_can_be_loaded()
    {
        var running = XdsAsync("--node-name", "n1", "--ip", "10.0.0.9", "--pod", "z", "--namespace", "mesh");
        var request = await _server.NextRequestAsync();
        await _server.NextRequestAsync();
        await _server.PushAsync(Address, "n1", [Workload("cart", "shop/cart.shop"), Service("cart")]);
        await _server.PushAsync(Authorization, "n2", [Policy("deny-all")]);
        var (status, output, error) = await running;

        Assert.Equal((0, ""), (status, error));
        Assert.Equal("ztunnel~10.0.0.9~z.mesh~mesh.svc.cluster.local", (string?)request["node"]!["id"]);
        Assert.Equal("n1", (string?)request["node"]!["metadata"]!["NODE_NAME"]);
        Assert.Contains("token-1", await _server.SaysAsync("stream 1 "), StringComparison.Ordinal);
        Assert.Equal(
            """
            workloads:
            - uid: c1//Pod/shop/cart
              name: cart
              namespace: shop
              trustDomain: cluster.local
              workloadIps: [10.0.0.2]
              protocol: HBONE
              services:
                shop/cart.shop: {80: 8080}
            services:
            - name: cart
              namespace: shop
              hostname: cart.shop
              vips: [/10.96.0.2]
              ports: {80: 8080}
            policies:
            - name: deny-all
              namespace: shop
              scope: Namespace
              action: Deny
              rules:
              - []

            """,
            output);
        Assert.Single(LocalConfiguration.Parse(output).Workloads);
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("address", Address)]
    [InlineData("authorization", Authorization)]
    public async Task One_type_alone_is_waited_for_and_printed(string type, string typeUrl)
    {
        var running = XdsAsync("--node-name", "n1", "--type", type);
        Assert.Equal(typeUrl, (string?)(await _server.NextRequestAsync())["type_url"]);
        await _server.PushAsync(typeUrl, "n1", [type is "address" ? Service("cart") : Policy("p1")]);
        var (status, output, _) = await running;

        Assert.Equal(0, status);
        Assert.StartsWith(type is "address" ? "services:\n" : "policies:\n", output, StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task References_that_lead_nowhere_are_printed_and_told()
    {
        var running = XdsAsync("--node-name", "n1", "--type", "address");
        await _server.NextRequestAsync();
        await _server.PushAsync(Address, "n1", [Workload("cart", "shop/none.shop")]);
        var (status, output, error) = await running;

        Assert.Equal(0, status);
        Assert.Contains("shop/none.shop: {80: 8080}", output, StringComparison.Ordinal);
        Assert.Contains("as a file this would have faults", error, StringComparison.Ordinal);
        Assert.Contains("the service 'shop/none.shop' is not among 'services'", error, StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Watched_each_change_is_printed_as_it_comes_and_the_end_of_it_is_no_failure()
    {
        using var stop = new CancellationTokenSource();
        var output = new Lines();
        var running = XdsCommand.Create().Parse(Arguments("--node-name", "n1", "--watch")).InvokeAsync(new InvocationConfiguration { Output = output, Error = TextWriter.Null }, stop.Token);
        await _server.NextRequestAsync();
        await _server.NextRequestAsync();
        await _server.PushAsync(Address, "n1", [Service("cart")]);
        await _server.PushAsync(Authorization, "n2");
        await Eventually.Until("it watches", () => output.Text.Contains("# watching\n", StringComparison.Ordinal));
        await _server.PushAsync(Address, "n3", [Service("cart"), Workload("cart", "shop/cart.shop")]);
        await _server.PushAsync(Authorization, "n4", [Policy("p1")]);
        await _server.PushAsync(Address, "n5", [], "c1//Pod/shop/cart");
        await Eventually.Until("all is printed", () => output.Text.Contains("# removed c1//Pod/shop/cart\n", StringComparison.Ordinal));
        await stop.CancelAsync();

        Assert.Equal(0, await running.InTime());
        Assert.Equal(
            ["# watching", "# changed shop/cart.shop", "# added c1//Pod/shop/cart", "# added shop/p1", "# removed c1//Pod/shop/cart"],
            output.Text.Split('\n').Where(line => line.StartsWith('#')));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task What_cannot_be_taken_is_named_and_the_rest_printed()
    {
        var running = XdsAsync("--node-name", "n1", "--type", "address", "--timeout", "2");
        await _server.NextRequestAsync();
        var bad = Workload("bad", "shop/cart.shop");
        bad["address"]!["workload"]!["tunnel_protocol"] = 2;
        await _server.PushAsync(Address, "n1", [bad, Service("cart")]);
        var (status, output, error) = await running;

        Assert.Equal(1, status);
        Assert.StartsWith("services:\n", output, StringComparison.Ordinal);
        Assert.Contains("c1//Pod/shop/bad: tunnel_protocol is LegacyIstioMtls", error, StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_policy_that_cannot_be_read_in_full_is_told_and_printed_as_it_counts()
    {
        var running = XdsAsync("--node-name", "n1", "--type", "authorization", "--timeout", "2");
        await _server.NextRequestAsync();
        var policy = Policy("p1");
        policy["authorization"]!["rules"] = new JsonArray(new JsonObject { ["clauses"] = new JsonArray(new JsonObject { ["matches"] = new JsonArray(new JsonObject { ["destination_ports"] = new JsonArray(80, 70000) }) }) });
        await _server.PushAsync(Authorization, "n1", [policy]);
        var (status, output, error) = await running;

        Assert.Equal(1, status);
        Assert.Contains("- - - notDestinationPorts: [0]", output, StringComparison.Ordinal);
        Assert.Contains("DestinationPorts has the port 70000", error, StringComparison.Ordinal);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_refusal_is_told_and_so_is_silence()
    {
        await _server.TellAsync(new JsonObject { ["op"] = "refuse", ["code"] = "PERMISSION_DENIED", ["details"] = "no such node" });
        Assert.Equal((1, "", $"localhost:{_server.Port} has sent nothing in 1 s: PermissionDenied: no such node\n"), await XdsAsync("--node-name", "n1", "--timeout", "1"));

        await _server.TellAsync(new JsonObject { ["op"] = "refuse" });
        var running = XdsAsync("--node-name", "n1", "--timeout", "2");
        await _server.NextRequestAsync();
        await _server.NextRequestAsync();
        await _server.PushAsync(Address, "n1");
        Assert.Contains("has sent no resources of the type Authorization in 2 s", (await running).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--address", "http://localhost:1", "--address: 'http://localhost:1' is no address of a control plane")]
    [InlineData("--type", "secret", "--type is 'secret'; allowed are address and authorization")]
    [InlineData("--ip", "localhost", "--ip is 'localhost'; allowed are IPv4 and IPv6 addresses")]
    [InlineData("--pod", "a~b", "--pod is 'a~b'; allowed are names that are not empty and have no '~'")]
    [InlineData("--token", "the-token-itself", "--token names no file; allowed is the path of a file that holds the token")]
    [InlineData("--timeout", "0", "--timeout is 0; allowed are 1 to 3600 seconds")]
    public async Task An_option_that_makes_no_sense_is_named(string option, string value, string reason)
    {
        string[] arguments = option is "--address" ? [option, value, "--node-name", "n1"] : ["--address", "localhost:1", "--node-name", "n1", option, value];
        var (status, _, error) = await MeshTool.RunAsync(XdsCommand.Create(), arguments).InTime();
        Assert.Equal(1, status);
        Assert.StartsWith(reason, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_control_plane_that_is_not_there_is_told() =>
        Assert.Contains("localhost:1 has sent nothing in 1 s: ", (await MeshTool.RunAsync(XdsCommand.Create(), "--address", "localhost:1", "--node-name", "n1", "--timeout", "1").InTime()).Error, StringComparison.Ordinal);

    private Task<(int Status, string Output, string Error)> XdsAsync(params string[] arguments) => MeshTool.RunAsync(XdsCommand.Create(), Arguments(arguments)).InTime();

    private string[] Arguments(params string[] arguments) => ["--address", $"localhost:{_server.Port}", "--root-ca", _server.RootPath, "--token", _server.TokenPath, .. arguments];

    private static JsonObject Workload(string name, string service) => new()
    {
        ["name"] = $"c1//Pod/shop/{name}",
        ["version"] = "v1",
        ["address"] = new JsonObject
        {
            ["workload"] = new JsonObject
            {
                ["uid"] = $"c1//Pod/shop/{name}",
                ["name"] = name,
                ["namespace"] = "shop",
                ["tunnel_protocol"] = "HBONE",
                ["addresses"] = new JsonArray("CgAAAg=="),
                ["services"] = new JsonObject { [service] = new JsonObject { ["ports"] = Ports() } },
            },
        },
    };

    private static JsonObject Service(string name) => new()
    {
        ["name"] = $"shop/{name}.shop",
        ["version"] = "v1",
        ["address"] = new JsonObject
        {
            ["service"] = new JsonObject
            {
                ["name"] = name,
                ["namespace"] = "shop",
                ["hostname"] = $"{name}.shop",
                ["addresses"] = new JsonArray(new JsonObject { ["address"] = "CmAAAg==" }),
                ["ports"] = Ports(),
            },
        },
    };

    private static JsonArray Ports() => new(new JsonObject { ["service_port"] = 80, ["target_port"] = 8080 });

    private static JsonObject Policy(string name) => new()
    {
        ["name"] = $"shop/{name}",
        ["authorization"] = new JsonObject { ["name"] = name, ["namespace"] = "shop", ["scope"] = "NAMESPACE", ["action"] = "DENY", ["rules"] = new JsonArray(new JsonObject()) },
    };

    /// <summary>What a running command has written so far.</summary>
    private sealed class Lines : TextWriter
    {
        private readonly StringBuilder _text = new();

        public override Encoding Encoding => Encoding.UTF8;

        public string Text
        {
            get
            {
                lock (_text)
                {
                    return _text.ToString();
                }
            }
        }

        public override void Write(char value)
        {
            lock (_text)
            {
                _text.Append(value);
            }
        }
    }
}
