using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Text.Json.Nodes;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Xds.Workloads;
using Microsoft.Extensions.DependencyInjection;
using static Mesh.Xds.ControlPlanePeer;

namespace Mesh.Xds.Client;

/// <summary>The client against a scripted server on gRPC's C core (ztunnel §15.8).</summary>
public sealed class XdsClientTests : IAsyncLifetime
{
    private const string Address = MeshResources.AddressTypeUrl;
    private const string Authorization = MeshResources.AuthorizationTypeUrl;

    private readonly MeshState _state = new();
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
    public async Task The_first_requests_ask_for_everything_and_say_who_asks()
    {
        var node = new XdsNode("ztunnel~1.2.3.4~z-1.istio-system~istio-system.svc.cluster.local")
        {
            Metadata = new JsonObject { ["NODE_NAME"] = "n1", ["WEIGHT"] = 3, ["NESTED"] = new JsonObject { ["LIST"] = new JsonArray(true, null, "x") } },
        };
        await using var client = Started(_server.Client(node));

        var stream = JsonNode.Parse(await _server.SaysAsync("stream 1 "))!;
        Assert.Equal("Bearer token-1", (string?)stream["authorization"]);
        Assert.Equal("Kubernetes", (string?)stream["clusterid"]);
        var first = await _server.NextRequestAsync();
        var second = await _server.NextRequestAsync();
        Assert.Equal(Address, (string?)first["type_url"]);
        Assert.Equal(Authorization, (string?)second["type_url"]);
        Assert.All([first, second], request =>
        {
            Assert.Equal(node.Id, (string?)request["node"]!["id"]);
            Assert.Equal("""{"NESTED":{"LIST":[true,null,"x"]},"NODE_NAME":"n1","WEIGHT":3.0}""", Sorted(request["node"]!["metadata"]!.AsObject()).ToJsonString().Replace("3,", "3.0,").Replace("3}", "3.0}"));
            Assert.False(request.ContainsKey("resource_names_subscribe"));
            Assert.False(request.ContainsKey("resource_names_unsubscribe"));
            Assert.False(request.ContainsKey("initial_resource_versions"));
        });
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task It_is_ready_when_both_types_have_come_and_were_acceptable()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        Assert.Equal("n1", (string?)(await _server.NextRequestAsync())["response_nonce"]);
        Assert.False(client.Ready.IsCompleted);

        await _server.PushAsync(Authorization, "n2");
        Assert.Equal("n2", (string?)(await _server.NextRequestAsync())["response_nonce"]);
        await client.Ready.InTime();
        Assert.NotNull(_state.Current.FindWorkload("c//Pod/shop/a"));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_type_that_is_added_before_it_is_ready_is_waited_for_and_a_later_one_is_not()
    {
        var (first, second, third) = (Type("First"), Type("Second"), Type("Third"));
        await using var client = _server.Client();
        client.Subscribe(first, new Recorder());
        client.Start();
        await _server.NextRequestAsync();
        client.Subscribe(second, new Recorder());
        Assert.Equal(second.TypeUrl, (string?)(await _server.NextRequestAsync())["type_url"]);
        await _server.PushAsync(first.TypeUrl, "n1");
        await _server.NextRequestAsync();
        await Eventually.Until("the first has come", () => client.Subscriptions[0].IsReady);
        Assert.False(client.Ready.IsCompleted);

        await _server.PushAsync(second.TypeUrl, "n2");
        await client.Ready.InTime();
        Assert.False(client.Subscribe(third, new Recorder()).IsReady);
        Assert.True(client.Ready.IsCompletedSuccessfully);

        static XdsResourceType<string> Type(string name) => new($"type.googleapis.com/some.{name}", (_, octets) => Convert.ToHexString(octets.Span));
    }

    [Fact]
    public async Task With_nothing_but_types_on_demand_it_is_ready_at_the_start()
    {
        await using var client = new XdsClient(new XdsClientOptions { Endpoint = new ControlPlaneEndpoint { Address = new Uri("https://localhost:1") }, Node = new XdsNode("n") });
        client.Subscribe(new XdsResourceType<string>("type.googleapis.com/some.Thing", (name, _) => name), new Recorder(), XdsSubscriptionMode.OnDemand);
        Assert.False(client.Ready.IsCompleted);
        client.Start();
        Assert.True(client.Ready.IsCompletedSuccessfully);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_refused_resource_is_named_and_the_others_of_its_message_count()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a"), Workload("bad", ("tunnel_protocol", 2)), Workload("worse", ("addresses", new JsonArray("AAA=")))]);

        var answer = await _server.NextRequestAsync();
        Assert.Equal("n1", (string?)answer["response_nonce"]);
        Assert.Equal(
            "c//Pod/shop/bad: tunnel_protocol is LegacyIstioMtls; allowed are NONE (0) and HBONE (1); c//Pod/shop/worse: addresses[0] has 2 octets; allowed are 4 and 16",
            (string?)answer["error_detail"]!["message"]);
        Assert.False(answer.ContainsKey("node"));
        Assert.Equal(["c//Pod/shop/a"], _state.Current.Workloads.Select(workload => workload.Uid));
        Assert.False(client.Subscriptions[0].IsReady);

        // An acceptable message makes it ready; what is refused then does not take that back, nor what is held.
        await _server.PushAsync(Address, "n2", [Workload("b")]);
        await _server.NextRequestAsync();
        await _server.PushAsync(Address, "n3", [Workload("b", ("tunnel_protocol", 2))]);
        Assert.NotNull((await _server.NextRequestAsync())["error_detail"]);
        Assert.True(client.Subscriptions[0].IsReady);
        Assert.NotNull(_state.Current.FindWorkload("c//Pod/shop/b"));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Resources_are_added_changed_and_removed()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a"), Service("cart")]);
        await _server.NextRequestAsync();
        Assert.Equal(1, _state.Current.ServiceCount);

        await _server.PushAsync(Address, "n2", [Workload("a", ("node", "n9"))]);
        await _server.NextRequestAsync();
        Assert.Equal("n9", _state.Current.FindWorkload("c//Pod/shop/a")!.Node);

        await _server.PushAsync(Address, "n3", [], "c//Pod/shop/a", "shop/cart.shop.svc.cluster.local", "never/heard-of");
        Assert.False((await _server.NextRequestAsync()).ContainsKey("error_detail"));
        Assert.Equal((0, 0), (_state.Current.WorkloadCount, _state.Current.ServiceCount));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_new_stream_names_what_is_held_and_not_what_was_refused()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a"), Workload("b"), Workload("bad", ("tunnel_protocol", 2))]);
        await _server.NextRequestAsync();
        await _server.PushAsync(Authorization, "n2", [Policy("deny-all")]);
        await _server.NextRequestAsync();
        await _server.EndStreamAsync("UNAVAILABLE", "restarting");

        await _server.SaysAsync("stream 2 ");
        var addresses = await _server.NextRequestAsync();
        var authorizations = await _server.NextRequestAsync();
        Assert.Equal("""{"c//Pod/shop/a":"v1","c//Pod/shop/b":"v1"}""", Sorted(addresses["initial_resource_versions"]!.AsObject()).ToJsonString());
        Assert.Equal("""{"shop/deny-all":""}""", authorizations["initial_resource_versions"]!.ToJsonString());
        Assert.NotNull(addresses["node"]);
        Assert.Equal(2, _state.Current.WorkloadCount);

        // The server has other content now.
        await _server.PushAsync(Address, "m1", [Workload("c")], "c//Pod/shop/a");
        await _server.NextRequestAsync();
        Assert.Equal(["b", "c"], _state.Current.Workloads.Select(workload => workload.Name).Order());
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("OK")]
    [InlineData("CANCELLED")]
    [InlineData("RESOURCE_EXHAUSTED")]
    [InlineData("UNAUTHENTICATED")]
    public async Task However_a_stream_ends_there_is_another_and_nothing_is_lost(string code)
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.NextRequestAsync();
        await File.WriteAllTextAsync(_server.TokenPath, "token-2");
        await _server.EndStreamAsync(code, "because");

        Assert.Contains("token-2", await _server.SaysAsync("stream 2 "));
        Assert.Equal(1, _state.Current.WorkloadCount);
        if (code != "OK")
        {
            Assert.Contains("because", client.LastError);
        }
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_server_that_answers_with_a_status_alone_is_asked_again()
    {
        await _server.TellAsync(new JsonObject { ["op"] = "refuse", ["code"] = "PERMISSION_DENIED", ["details"] = "no such node: 100 %" });
        await using var client = Started(_server.Client());
        await Eventually.Until("the refusal is known", () => client.LastError == "PermissionDenied: no such node: 100 %");
        Assert.False(client.IsConnected);

        await _server.TellAsync(new JsonObject { ["op"] = "refuse" });
        await OpenedAsync();
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_server_that_is_killed_and_comes_back_is_found_again()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.NextRequestAsync();
        await _server.StopAsync();
        await Eventually.Until("the loss is noticed", () => !client.IsConnected);
        Assert.Equal(1, _state.Current.WorkloadCount);

        await _server.RunAsync();
        var addresses = await _server.NextRequestAsync();
        Assert.Equal("""{"c//Pod/shop/a":"v1"}""", addresses["initial_resource_versions"]!.ToJsonString());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Garbage_is_refused_piece_by_piece_and_the_last_good_state_stays()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.NextRequestAsync();
        await _server.PushAsync(
            Address,
            "n2",
            [
                Raw("c//Pod/shop/a", "ffffffff", Address), Raw("empty", "", Address), Raw("", "", Address), Raw("other", "", Authorization),
                Workload("twice"), Workload("twice"), new JsonObject { ["name"] = "nothing" },
            ]);

        var detail = (string?)(await _server.NextRequestAsync())["error_detail"]!["message"];
        Assert.Contains("c//Pod/shop/a: ", detail);
        Assert.Contains("empty: it is neither a workload nor a service", detail);
        Assert.Contains("a resource has no name", detail);
        Assert.Contains($"other: its type is {Authorization}; the stream's is {Address}", detail);
        Assert.Contains("c//Pod/shop/twice: it stands more than once in one message", detail);
        Assert.Contains("nothing: it has no content", detail);
        Assert.Equal(["c//Pod/shop/a"], _state.Current.Workloads.Select(workload => workload.Uid));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_type_that_nobody_asked_for_is_acknowledged_and_passed_over()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.PushAsync("type.googleapis.com/some.Thing", "n1", [Raw("x", "00", "type.googleapis.com/some.Thing")]);

        var answer = await _server.NextRequestAsync();
        Assert.Equal(("type.googleapis.com/some.Thing", "n1"), ((string?)answer["type_url"], (string?)answer["response_nonce"]));
        Assert.False(answer.ContainsKey("error_detail"));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_message_of_some_tens_of_megabytes_comes_in_through_flow_control()
    {
        await using var client = Started(_server.Client());
        await OpenedAsync();
        await _server.TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = Address, ["nonce"] = "n1", ["many"] = 4000, ["padding"] = 10_000 });

        Assert.Equal("n1", (string?)(await _server.NextRequestAsync())["response_nonce"]);
        Assert.Equal(4000, _state.Current.WorkloadCount);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_message_that_is_too_long_ends_the_stream_and_says_so()
    {
        await using var client = new XdsClient(new XdsClientOptions { Endpoint = _server.Endpoint, Node = new XdsNode("n"), MaxMessageSize = 100_000 });
        new MeshResources(_state).SubscribeTo(client);
        client.Start();
        await OpenedAsync();
        await _server.TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = Address, ["nonce"] = "n1", ["many"] = 10, ["padding"] = 20_000 });

        await Eventually.Until("it says so", () => client.LastError?.Contains("allowed are 100000", StringComparison.Ordinal) is true);
        await _server.SaysAsync("stream 2 ");
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task On_demand_nothing_is_asked_for_until_it_is_needed_and_then_once()
    {
        await using var client = _server.Client();
        var addresses = new MeshResources(_state).SubscribeTo(client, onDemand: true);
        client.Start();
        var opening = await _server.NextRequestAsync();
        Assert.Equal(("""["*"]""", """["*"]"""), (opening["resource_names_subscribe"]!.ToJsonString(), opening["resource_names_unsubscribe"]!.ToJsonString()));
        Assert.False((await _server.NextRequestAsync()).ContainsKey("resource_names_subscribe"));

        var waiting = Enumerable.Range(0, 20).Select(_ => addresses.DemandAsync("/10.0.0.9").AsTask()).ToArray();
        var request = await _server.NextRequestAsync();
        Assert.Equal("""["/10.0.0.9"]""", request["resource_names_subscribe"]!.ToJsonString());
        Assert.False(request.ContainsKey("node"));
        Assert.False(request.ContainsKey("response_nonce"));

        // It comes under its UID, with or without the alias.
        await _server.PushAsync(Address, "n1", [Workload("a", ("addresses", new JsonArray("CgAACQ==")))]);
        Assert.All(await Task.WhenAll(waiting).InTime(), answer => Assert.Equal(XdsDemand.Found, answer));
        Assert.NotNull(_state.Current.FindWorkload("c//Pod/shop/a"));
        Assert.Equal("n1", (string?)(await _server.NextRequestAsync())["response_nonce"]);
        Assert.Equal(XdsDemand.Found, await addresses.DemandAsync("/10.0.0.9").InTime());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task What_does_not_exist_is_remembered_until_it_does()
    {
        await using var client = _server.Client();
        var addresses = new MeshResources(_state).SubscribeTo(client, onDemand: true);
        client.Start();
        await OpenedAsync();
        var absent = addresses.DemandAsync("/10.0.0.9");
        await _server.NextRequestAsync();
        await _server.PushAsync(Address, "n1", [], "/10.0.0.9");
        Assert.Equal(XdsDemand.Absent, await absent.InTime());
        await _server.NextRequestAsync();
        Assert.Equal(XdsDemand.Absent, await addresses.DemandAsync("/10.0.0.9").InTime());

        var alias = Workload("a");
        alias["aliases"] = new JsonArray("/10.0.0.9");
        await _server.PushAsync(Address, "n2", [alias]);
        await _server.NextRequestAsync();
        Assert.Equal(XdsDemand.Found, await addresses.DemandAsync("/10.0.0.9").InTime());

        await _server.PushAsync(Address, "n3", [], "c//Pod/shop/a");
        await _server.NextRequestAsync();
        Assert.Equal(XdsDemand.Absent, await addresses.DemandAsync("/10.0.0.9").InTime());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_question_that_is_not_answered_ends_in_time_and_is_asked_again_on_the_next_stream()
    {
        await using var client = _server.Client(demandTimeout: TimeSpan.FromMilliseconds(50));
        var addresses = new MeshResources(_state).SubscribeTo(client, onDemand: true);
        client.Start();
        await OpenedAsync();
        Assert.Equal(XdsDemand.Unanswered, await addresses.DemandAsync("shop/cart.shop.svc.cluster.local").InTime());
        await _server.NextRequestAsync();
        await _server.EndStreamAsync("UNAVAILABLE");

        var opening = await _server.NextRequestAsync();
        Assert.Equal("""["*","shop/cart.shop.svc.cluster.local"]""", opening["resource_names_subscribe"]!.ToJsonString());
        Assert.Equal("""{"shop/cart.shop.svc.cluster.local":""}""", opening["initial_resource_versions"]!.ToJsonString());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Of_ten_thousand_names_each_is_there_when_its_question_is_answered()
    {
        await using var client = _server.Client();
        var addresses = new MeshResources(_state).SubscribeTo(client, onDemand: true);
        client.Start();
        await OpenedAsync();
        var names = Enumerable.Range(0, 10_000).Select(i => $"c//Pod/ns-{i % 100}/pod-{i}").ToArray();
        var seen = Task.WhenAll(names.Select(async name => (await addresses.DemandAsync(name), _state.Current.FindWorkload(name) is not null)));
        await _server.TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = Address, ["nonce"] = "n1", ["many"] = 10_000 });

        Assert.All(await seen.InTime(), answer => Assert.Equal((XdsDemand.Found, true), answer));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Another_type_needs_a_parser_and_a_handler_and_nothing_here()
    {
        var things = new Recorder();
        await using var client = _server.Client();
        var type = new XdsResourceType<string>("type.googleapis.com/some.Thing", (_, octets) => Convert.ToHexString(octets.Span) is "BAD0" ? throw new FormatException("bad") : Convert.ToHexString(octets.Span));
        client.Subscribe(type, things);
        client.Start();
        await _server.NextRequestAsync();
        await _server.PushAsync(type.TypeUrl, "n1", [Raw("x", "01", type.TypeUrl), Raw("y", "bad0", type.TypeUrl)]);
        Assert.Equal("y: bad", (string?)(await _server.NextRequestAsync())["error_detail"]!["message"]);
        await _server.PushAsync(type.TypeUrl, "n2", [Raw("x", "02", type.TypeUrl)], "gone");
        await _server.NextRequestAsync();
        await client.Ready.InTime();

        Assert.Equal(["added x=01", "removed gone", "changed x=02"], things.Events);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_handler_that_fails_refuses_the_message_and_the_stream_goes_on()
    {
        await using var client = _server.Client();
        client.Subscribe(new XdsResourceType<int>("type.googleapis.com/some.Thing", (_, octets) => octets.Length), new Failing());
        client.Start();
        await _server.NextRequestAsync();
        await _server.PushAsync("type.googleapis.com/some.Thing", "n1", [Raw("x", "01", "type.googleapis.com/some.Thing")]);
        Assert.Contains("cannot", (string?)(await _server.NextRequestAsync())["error_detail"]!["message"]);
        Assert.False(client.Subscriptions[0].IsReady);

        // How much of it was applied nobody knows: it is to be sent again, and its end to be told.
        await _server.EndStreamAsync("UNAVAILABLE");
        Assert.Equal("""{"x":""}""", (await _server.NextRequestAsync())["initial_resource_versions"]!.ToJsonString());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Messages_their_octets_and_the_ends_of_streams_are_counted()
    {
        using var services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        var meters = services.GetRequiredService<IMeterFactory>();
        var counts = new ConcurrentDictionary<string, long>();
        using var listener = new MeterListener { InstrumentPublished = (instrument, listener) => Listen(instrument, listener) };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => counts.AddOrUpdate($"{instrument.Name} {tags[0].Value}", value, (_, old) => old + value));
        listener.Start();
        await using var client = new XdsClient(new XdsClientOptions { Endpoint = _server.Endpoint, Node = new XdsNode("n") }, meters: meters);
        Started(client);
        await OpenedAsync();
        await _server.PushAsync(Address, "n1", [Workload("a")]);
        await _server.NextRequestAsync();
        await _server.EndStreamAsync("RESOURCE_EXHAUSTED");
        await OpenedAsync();
        await _server.EndStreamAsync("UNAVAILABLE");
        await OpenedAsync();

        Assert.Equal(1, counts[$"istio_xds_message {Address}"]);
        Assert.True(counts[$"istio_xds_message_bytes {Address}"] > 50);
        Assert.Equal((1, 1), (counts["istio_xds_connection_terminations Error"], counts["istio_xds_connection_terminations ConnectionError"]));

        void Listen(Instrument instrument, MeterListener listener)
        {
            if (instrument.Meter.Scope == meters)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        }
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_server_that_the_roots_do_not_vouch_for_gets_nothing()
    {
        using var other = TestCertificates.Root("CN=Control plane root");
        await using var client = Started(_server.Client(change: endpoint => endpoint with { RootCertificates = other.ExportCertificatePem() }));
        await Eventually.Until("it is refused", () => client.LastError?.Contains("certificate", StringComparison.Ordinal) is true);
        Assert.DoesNotContain("stream 1", _server.Output);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Roots_that_are_put_right_are_read_again()
    {
        var path = Path.GetTempFileName();
        await using var client = Started(_server.Client(change: endpoint => endpoint with { RootCertificates = path }));
        await Eventually.Until("the file is said to be empty", () => client.LastError?.Contains("no certificate", StringComparison.Ordinal) is true);
        File.Copy(_server.RootPath, path, overwrite: true);
        await OpenedAsync();
        File.Delete(path);
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("istiod.istio-system.svc", "istiod.istio-system.svc", true)]
    [InlineData("istiod.istio-system.svc", null, false)]
    [InlineData("istiod.istio-system.svc", "istiod.other", false)]
    [InlineData("localhost", "istiod.other", true)]
    public async Task The_server_must_have_the_name_of_its_address_or_the_alternative_one(string serving, string? alternative, bool accepted)
    {
        await using var server = await StartAsync(serving);
        await using var client = server.Client(change: endpoint => endpoint with { AlternativeHostname = alternative });
        new MeshResources(_state).SubscribeTo(client);
        client.Start();
        if (accepted)
        {
            await server.SaysAsync("stream 1 ");
        }
        else
        {
            await Eventually.Until("it is refused", () => client.LastError?.Contains("certificate", StringComparison.Ordinal) is true);
            Assert.DoesNotContain("stream 1", server.Output);
        }
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("", "is empty")]
    [InlineData(null, "is not there")]
    public async Task Without_the_token_that_is_set_nothing_is_asked_for(string? content, string reason)
    {
        File.Delete(_server.TokenPath);
        if (content is not null)
        {
            await File.WriteAllTextAsync(_server.TokenPath, content);
        }

        await using var client = Started(_server.Client());
        await Eventually.Until("it says so", () => client.LastError?.Contains(reason, StringComparison.Ordinal) is true);
        Assert.DoesNotContain("stream 1", _server.Output);
    }

    private XdsClient Started(XdsClient client)
    {
        new MeshResources(_state).SubscribeTo(client);
        client.Start();
        return client;
    }

    private async Task OpenedAsync()
    {
        await _server.NextRequestAsync();
        await _server.NextRequestAsync();
    }

    private static JsonObject Workload(string name, params (string Field, JsonNode Value)[] more)
    {
        var workload = new JsonObject { ["uid"] = $"c//Pod/shop/{name}", ["name"] = name, ["namespace"] = "shop", ["service_account"] = "web", ["tunnel_protocol"] = "HBONE" };
        foreach (var (field, value) in more)
        {
            workload[field] = value;
        }

        return new JsonObject { ["name"] = $"c//Pod/shop/{name}", ["version"] = "v1", ["address"] = new JsonObject { ["workload"] = workload } };
    }

    private static JsonObject Service(string name) => new()
    {
        ["name"] = $"shop/{name}.shop.svc.cluster.local",
        ["version"] = "v1",
        ["address"] = new JsonObject { ["service"] = new JsonObject { ["name"] = name, ["namespace"] = "shop", ["hostname"] = $"{name}.shop.svc.cluster.local" } },
    };

    private static JsonObject Policy(string name) => new()
    {
        ["name"] = $"shop/{name}",
        ["authorization"] = new JsonObject { ["name"] = name, ["namespace"] = "shop", ["scope"] = "NAMESPACE", ["action"] = "DENY", ["rules"] = new JsonArray(new JsonObject()) },
    };

    private static JsonObject Raw(string name, string hex, string typeUrl) => new() { ["name"] = name, ["raw"] = hex, ["type_url"] = typeUrl };

    private static JsonObject Sorted(JsonObject json) => new(json.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone())));

    private sealed class Recorder : IXdsHandler<string>
    {
        public List<string> Events { get; } = [];

        public void Apply(XdsUpdate<string> update)
        {
            Events.AddRange(update.Removed.Select(name => $"removed {name}"));
            Events.AddRange(update.Changed.Select(resource => $"{(resource.IsNew ? "added" : "changed")} {resource.Name}={resource.Value}"));
        }
    }

    private sealed class Failing : IXdsHandler<int>
    {
        public void Apply(XdsUpdate<int> update) => throw new InvalidOperationException("this cannot be applied");
    }
}
