using System.Text.Json.Nodes;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Xds.Workloads;
using Microsoft.Extensions.Logging;
using static Mesh.Xds.ControlPlanePeer;

namespace Mesh.Xds.Client;

/// <summary>The client against a server on gRPC's C core that is restarted, silent, cut off, or not well: what is held stays, and it is said what is wrong.</summary>
public sealed class XdsClientFaultTests : IAsyncLifetime
{
    private const string Address = MeshResources.AddressTypeUrl;
    private const string Authorization = MeshResources.AuthorizationTypeUrl;

    private readonly MeshState _state = new();
    private readonly FakeTimeProvider _time = new();
    private readonly LogRecorder _log = new();
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
    public async Task A_server_that_is_restarted_with_other_content_has_it_in_the_state()
    {
        await WorldAsync([Workload("a"), Workload("b"), Service("cart"), Service("gone")], [Policy("allow"), Policy("gone")]);
        await using var client = Started();
        await client.Ready.InTime();
        Assert.Equal((2, 2, 2), (_state.Current.WorkloadCount, _state.Current.ServiceCount, _state.Current.Policies.Count));

        var changes = 0;
        _state.Changed += (_, _) => Interlocked.Increment(ref changes);
        await _server.StopAsync();
        await Eventually.Until("the loss is noticed", () => !client.IsConnected);
        await _server.RunAsync();
        await WorldAsync([Workload("b"), Workload("c"), Service("cart")], [Policy("allow")]);
        await Eventually.Until("it is as the server has it", () => _state.Current is { ServiceCount: 1, Policies.Count: 1 } now && now.FindWorkload("c//Pod/shop/c") is not null);
        Assert.Equal(["b", "c"], _state.Current.Workloads.Select(workload => workload.Name).Order());
        Assert.Equal(["cart"], _state.Current.Services.Select(service => service.Name));
        Assert.True(_state.Current.Policies.TryGet("shop/allow", out _));

        // Each type at once: nobody saw the mesh without what both have.
        Assert.Equal(2, changes);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_stream_that_is_cut_in_the_middle_of_a_message_leaves_what_is_held()
    {
        await using var relay = new CuttingRelay(_server.Port);
        await using var client = Started(port: relay.Port);
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.NextRequestAsync();
        relay.CutAfter(1_000_000);
        await _server.TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = Address, ["nonce"] = "n2", ["many"] = 500, ["padding"] = 10_000 });

        Assert.Equal("""{"c//Pod/shop/a":"v1"}""", (await _server.NextRequestAsync())["initial_resource_versions"]!.ToJsonString());
        await _server.NextRequestAsync();
        Assert.NotNull(client.LastError);
        Assert.Equal(["a"], _state.Current.Workloads.Select(workload => workload.Name));
        await _server.TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = Address, ["nonce"] = "m1", ["many"] = 500, ["padding"] = 10_000 });
        Assert.Equal("m1", (string?)(await _server.NextRequestAsync())["response_nonce"]);
        Assert.Equal(501, _state.Current.WorkloadCount);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_message_that_is_compressed_without_an_offer_is_refused_and_leaves_what_is_held()
    {
        await using var client = Started();
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.NextRequestAsync();
        await CompressAsync("Gzip");
        await _server.EndStreamAsync("UNAVAILABLE");
        await OpenedAsync();
        await _server.TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = Address, ["nonce"] = "n2", ["many"] = 10, ["padding"] = 10_000 });
        await Eventually.Until("it is refused", () => client.LastError == "Internal: the peer sent a compressed message (flag 1), which was not offered");
        Assert.Equal(["a"], _state.Current.Workloads.Select(workload => workload.Name));

        await CompressAsync("NoCompression");
        await _server.SaysAsync("stream 3 ");
        await OpenedAsync();
        await _server.EndStreamAsync("UNAVAILABLE");
        await OpenedAsync();
        await _server.PushAsync(Address, "n3", [Workload("b")]);
        await _server.NextRequestAsync();
        Assert.Equal(2, _state.Current.WorkloadCount);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_server_that_flaps_takes_nothing_away_and_is_asked_less_and_less_often()
    {
        string[] codes = ["UNAVAILABLE", "OK", "CANCELLED", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "OK"];
        await using var client = Started();
        for (var i = 0; i < codes.Length; i++)
        {
            await OpenedAsync();
            await _server.PushAsync(Address, "n", [Workload($"w-{i}")]);
            await _server.NextRequestAsync();
            await _server.EndStreamAsync(codes[i]);
        }

        Assert.Equal(codes.Length, (await _server.NextRequestAsync())["initial_resource_versions"]!.AsObject().Count);
        Assert.Equal(codes.Length, _state.Current.WorkloadCount);

        // It had brought something each time, and was not well for long.
        Assert.Equal([10, 20, 40, 80, 160, 200, 200, 200], Ends().Select(Wait));
        Assert.All(Ends(), end => Assert.Equal(LogLevel.Warning, end.Level));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task After_a_stream_that_was_well_for_a_time_the_next_attempt_is_soon()
    {
        await using var client = Started(_time);
        foreach (var (number, lasts) in new[] { (1, 0), (2, 4), (3, 5), (4, 0) })
        {
            await Eventually.Until($"stream {number} is there", () => TurnUntil(() => _server.Output.Contains($"stream {number} ", StringComparison.Ordinal), TimeSpan.FromMilliseconds(5)));
            await OpenedAsync();
            await _server.PushAsync(Address, "n", [Workload("a")]);
            await _server.NextRequestAsync();
            _time.Advance(TimeSpan.FromSeconds(lasts));
            await _server.EndStreamAsync("UNAVAILABLE");
            await Eventually.Until("its end is known", () => Ends().Length == number);
        }

        Assert.Equal([10, 20, 10, 20], Ends().Select(Wait));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_reason_is_a_warning_once_until_it_changes_or_a_stream_has_been_well()
    {
        await RefuseAsync("not you");
        await using var client = Started();
        await Eventually.Until("it was refused often", () => Ends().Length >= 3);
        await RefuseAsync("not you either");
        await Eventually.Until("the other reason is known", () => client.LastError == "PermissionDenied: not you either");
        await _server.TellAsync(new JsonObject { ["op"] = "refuse" });
        await OpenedAsync();
        await _server.PushAsync(Address, "n", [Workload("a")]);
        await _server.NextRequestAsync();
        await RefuseAsync("not you either");
        await _server.EndStreamAsync("PERMISSION_DENIED", "not you either");
        await Eventually.Until("it is refused again", () => Ends().Count(end => end.Level is LogLevel.Warning) == 3);

        Assert.Equal(
            ["not you", "not you either", "not you either"],
            Ends().Where(end => end.Level is LogLevel.Warning).Select(end => ((string)end.Values["Reason"]!)["PermissionDenied: ".Length..]));
        Assert.Equal(Ends().Count(end => end.Level is LogLevel.Debug), _log.Named("StreamEndedAlike").Length);
        Assert.NotEmpty(_log.Named("StreamEndedAlike"));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task What_a_server_writes_stays_on_one_line_and_has_an_end()
    {
        await using var client = Started();
        await OpenedAsync();
        await _server.PushAsync("no\nsuch\u001btype" + new string('x', 5000), "n", []);
        await _server.NextRequestAsync();
        var type = (string)Assert.Single(_log.Named("TypeUnknown")).Values["Type"]!;
        Assert.StartsWith("no\\u000Asuch\\u001Btypexxx", type);
        Assert.Equal(257, type.Length);

        await _server.EndStreamAsync("UNAVAILABLE", "going\r\naway " + new string('y', 2000));
        await Eventually.Until("the end is known", () => Ends().Length > 0);
        var reason = (string)Ends()[0].Values["Reason"]!;
        Assert.StartsWith("Unavailable: going\\u000D\\u000Aaway yyy", reason);
        Assert.Equal(1025, reason.Length);
        Assert.Equal(reason, client.LastError);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Of_a_server_that_takes_the_stream_and_does_not_answer_it_is_said_that_it_does_not()
    {
        await using var client = Started(_time);
        await OpenedAsync();
        _time.Advance(TimeSpan.FromSeconds(29));
        Assert.Null(client.LastError);
        await Eventually.Until("it says so", () => TurnUntil(() => client.LastError is not null));
        Assert.Equal($"the control plane at localhost:{_server.Port} has not answered for 30 s", client.LastError);
        Assert.False(client.IsConnected);
        _time.Advance(TimeSpan.FromHours(1));
        Assert.Single(_log.Named("NoAnswer"));

        // The stream goes on, and is as good as any when the answer comes.
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.PushAsync(Authorization, "n2");
        await client.Ready.InTime();
        Assert.True(client.IsConnected);
        Assert.Null(client.LastError);
        Assert.DoesNotContain("stream 2 ", _server.Output);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task What_was_too_much_to_name_is_let_go_when_the_server_has_named_the_rest()
    {
        await using var client = Started(_time);
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [.. Enumerable.Range(0, 1000).Select(i => Workload($"{i}-{new string('x', 1500)}"))]);
        await _server.NextRequestAsync();
        await EndedAsync("UNAVAILABLE", 2);
        Assert.Equal(1000, (await _server.NextRequestAsync())["initial_resource_versions"]!.AsObject().Count);
        await _server.NextRequestAsync();
        await EndedAsync("RESOURCE_EXHAUSTED", 3);
        Assert.False((await _server.NextRequestAsync()).ContainsKey("initial_resource_versions"));
        await _server.NextRequestAsync();

        await _server.PushAsync(Address, "m1", [Workload("a")]);
        await _server.NextRequestAsync();
        _time.Advance(TimeSpan.FromSeconds(29));
        await _server.PushAsync(Address, "m2", [Workload("b")]);
        await _server.NextRequestAsync();
        _time.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(1002, _state.Current.WorkloadCount);
        await Eventually.Until("it is let go", () => TurnUntil(() => _state.Current.WorkloadCount < 1002));
        Assert.Equal(["a", "b"], _state.Current.Workloads.Select(workload => workload.Name).Order());
        Assert.Equal(2, client.Subscriptions[0].Count);
        Assert.Equal(1000, Assert.Single(_log.Named("NotNamed")).Values["Count"]);
    }

    private static double Wait(LoggedEvent end) => ((TimeSpan)end.Values["Wait"]!).TotalMilliseconds;

    private LoggedEvent[] Ends() => _log.Named("StreamEnded", "StreamEndedAlike");

    // The clock is turned while something is waited for: when the client begins to wait is not for the test to know.
    private bool TurnUntil(Func<bool> condition, TimeSpan? by = null)
    {
        if (condition())
        {
            return true;
        }

        _time.Advance(by ?? TimeSpan.FromSeconds(1));
        return false;
    }

    private XdsClient Started(TimeProvider? time = null, int? port = null)
    {
        var options = new XdsClientOptions
        {
            Endpoint = _server.Endpoint with { Address = new Uri($"https://localhost:{port ?? _server.Port}") },
            Node = new XdsNode("n"),
            MaxBackoff = TimeSpan.FromMilliseconds(200),
            BackoffJitter = 0,
        };
        var client = new XdsClient(options, time, logger: _log);
        new MeshResources(_state).SubscribeTo(client);
        client.Start();
        return client;
    }

    private async Task OpenedAsync()
    {
        await _server.NextRequestAsync();
        await _server.NextRequestAsync();
    }

    private async Task EndedAsync(string code, int next)
    {
        await _server.EndStreamAsync(code);
        await Eventually.Until($"stream {next} is there", () => TurnUntil(() => _server.Output.Contains($"stream {next} ", StringComparison.Ordinal), TimeSpan.FromMilliseconds(5)));
    }

    private Task WorldAsync(JsonArray addresses, JsonArray policies) => _server.TellAsync(new JsonObject { ["op"] = "world", ["resources"] = new JsonObject { [Address] = addresses, [Authorization] = policies } });

    private Task CompressAsync(string encoding) => _server.TellAsync(new JsonObject { ["op"] = "compress", ["encoding"] = encoding });

    private Task RefuseAsync(string details) => _server.TellAsync(new JsonObject { ["op"] = "refuse", ["code"] = "PERMISSION_DENIED", ["details"] = details });

    private static JsonObject Workload(string name) => new()
    {
        ["name"] = $"c//Pod/shop/{name}",
        ["version"] = "v1",
        ["address"] = new JsonObject { ["workload"] = new JsonObject { ["uid"] = $"c//Pod/shop/{name}", ["name"] = name, ["namespace"] = "shop", ["service_account"] = "web", ["tunnel_protocol"] = "HBONE" } },
    };

    private static JsonObject Service(string name) => new()
    {
        ["name"] = $"shop/{name}.shop.svc.cluster.local",
        ["version"] = "v1",
        ["address"] = new JsonObject { ["service"] = new JsonObject { ["name"] = name, ["namespace"] = "shop", ["hostname"] = $"{name}.shop.svc.cluster.local" } },
    };

    private static JsonObject Policy(string name) => new()
    {
        ["name"] = $"shop/{name}",
        ["authorization"] = new JsonObject { ["name"] = name, ["namespace"] = "shop", ["scope"] = "NAMESPACE", ["action"] = "ALLOW", ["rules"] = new JsonArray(new JsonObject()) },
    };
}
