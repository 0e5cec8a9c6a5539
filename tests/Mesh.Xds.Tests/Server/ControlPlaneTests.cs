using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Xds.Client;
using Mesh.Xds.Grpc;
using Mesh.Xds.Workloads;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using static Mesh.Xds.ControlPlanePeer;
using static Mesh.Xds.Server.ServedMesh;
using DeltaDiscoveryRequest = Mesh.Xds.Protos.DeltaDiscoveryRequest;

namespace Mesh.Xds.Server;

/// <summary>Our control plane, asked by a client on gRPC's C core and by our own.</summary>
public sealed class ControlPlaneTests
{
    private const string Address = MeshResources.AddressTypeUrl;
    private const string Authorization = MeshResources.AuthorizationTypeUrl;

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_client_gets_everything_and_then_what_changes()
    {
        await using var served = await ServedMesh.StartAsync();
        await using var client = served.Python(FirstToken);
        await client.TellAsync(new JsonObject { ["type_url"] = Address, ["node"] = new JsonObject { ["id"] = "n" } });
        var all = await client.TakeAsync();
        Assert.Equal(["cart", "shop/cart.shop.svc.cluster.local", "web"], Names(all));
        Assert.Equal("CgAAAg==", (string?)all["resources"]!["cart"]!["content"]!["workload"]!["addresses"]![0]);
        await client.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal(["shop/only-web"], Names(await client.TakeAsync()));

        served.State.Update(editor => editor.Upsert(served.State.Current.FindWorkload("web")! with { Node = "node-3" }));
        var change = await client.TakeAsync();
        Assert.Equal(["web"], Names(change));
        Assert.Equal("node-3", (string?)change["resources"]!["web"]!["content"]!["workload"]!["node"]);

        served.State.Update(editor =>
        {
            editor.RemoveWorkload("cart");
            editor.RemovePolicy("shop/only-web");
        });

        // Which comes first depends on what the client has answered by then.
        JsonObject[] removals = [await client.TakeAsync(), await client.TakeAsync()];
        Assert.Equal(["""["cart"]""", """["shop/only-web"]"""], removals.Select(removal => removal["removed"]!.ToJsonString()).Order(StringComparer.Ordinal));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task While_a_response_is_not_answered_changes_gather_into_one()
    {
        await using var served = await ServedMesh.StartAsync();
        await using var client = served.Python(FirstToken);
        await client.TellAsync(new JsonObject { ["type_url"] = Address });
        var all = await client.HearAsync();
        for (var i = 0; i < 50; i++)
        {
            served.State.Update(editor => editor.Upsert(served.State.Current.FindWorkload("web")! with { Node = $"node-{i}" }));
        }

        // A refusal is an answer too.
        await client.TellAsync(new JsonObject { ["type_url"] = Address, ["response_nonce"] = (string?)all["nonce"], ["error_detail"] = new JsonObject { ["message"] = "no" } });
        var change = await client.TakeAsync();
        Assert.Equal("node-49", (string?)change["resources"]!["web"]!["content"]!["workload"]!["node"]);

        // What was changed and changed back is no change.
        served.State.Update(editor => editor.Upsert(served.State.Current.FindWorkload("web")! with { }));
        served.State.Update(editor => editor.RemoveWorkload("cart"));
        Assert.Empty(Names(await client.TakeAsync()));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Who_comes_back_gets_what_it_does_not_have()
    {
        await using var served = await ServedMesh.StartAsync();
        await using var first = served.Python(FirstToken);
        await first.TellAsync(new JsonObject { ["type_url"] = Address });
        var all = await first.TakeAsync();
        var versions = new JsonObject(all["resources"]!.AsObject().Select(one => KeyValuePair.Create(one.Key, (JsonNode?)(string?)one.Value!["version"]))) { ["gone"] = "1", ["web"] = "old" };
        await using var second = served.Python(FirstToken);
        await second.TellAsync(new JsonObject { ["type_url"] = Address, ["initial_resource_versions"] = versions });

        var difference = await second.TakeAsync();
        Assert.Equal(["web"], Names(difference));
        Assert.Equal("""["gone"]""", difference["removed"]!.ToJsonString());
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task On_demand_a_client_gets_its_nodes_workloads_and_what_it_asks_for()
    {
        await using var served = await ServedMesh.StartAsync();
        await using var client = served.Python(FirstToken);
        await client.TellAsync(new JsonObject { ["type_url"] = Address, ["resource_names_subscribe"] = new JsonArray("*"), ["resource_names_unsubscribe"] = new JsonArray("*") });
        Assert.Equal(["web"], Names(await client.TakeAsync()));

        // A service comes with its endpoints, under the address that was asked for.
        await client.TellAsync(new JsonObject { ["type_url"] = Address, ["resource_names_subscribe"] = new JsonArray("/10.96.0.2", "/10.9.9.9") });
        var answer = await client.TakeAsync();
        Assert.Equal(["cart", "shop/cart.shop.svc.cluster.local"], Names(answer));
        Assert.Equal("""["/10.96.0.2"]""", answer["resources"]!["shop/cart.shop.svc.cluster.local"]!["aliases"]!.ToJsonString());
        Assert.Equal("""["/10.9.9.9"]""", answer["removed"]!.ToJsonString());

        // What concerns it, it hears of; other things not.
        var template = served.State.Current.FindWorkload("cart")!;
        served.State.Update(editor => editor.Upsert(template with { Uid = "other", Name = "other-0", Addresses = [], Services = template.Services.Clear() }));
        served.State.Update(editor => editor.Upsert(template with { Uid = "cart-1", Name = "cart-1", Addresses = [] }));
        Assert.Equal(["cart-1"], Names(await client.TakeAsync()));
        served.State.Update(editor => editor.Upsert(template with { Uid = "late", Name = "late-0", Addresses = [IPAddress.Parse("10.9.9.9")], Services = template.Services.Clear() }));
        var late = await client.TakeAsync();
        Assert.Equal("""["/10.9.9.9"]""", late["resources"]!["late"]!["aliases"]!.ToJsonString());
        served.State.Update(editor => editor.RemoveWorkload("late"));
        Assert.Equal("""["late","/10.9.9.9"]""", (await client.TakeAsync())["removed"]!.ToJsonString());
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData(null)]
    [InlineData("a-token-that-nobody-knows")]
    [InlineData("")]
    public async Task Who_is_not_known_is_refused(string? token)
    {
        await using var served = await ServedMesh.StartAsync();
        await using var client = served.Python(token);
        await client.TellAsync(new JsonObject { ["type_url"] = Address });
        Assert.Equal("UNAUTHENTICATED", (string?)(await client.HearAsync())["end"]);
        await client.TellAsync(new JsonObject { ["certificate"] = new JsonObject { ["csr"] = "x" } });
        Assert.Equal("UNAUTHENTICATED", (string?)(await client.HearAsync())["end"]);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_certificate_is_as_good_as_a_token_if_its_identity_is_known()
    {
        await using var served = await ServedMesh.StartAsync();
        await using var known = served.Python(null, "spiffe://cluster.local/node/node-2");
        await known.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal(["shop/only-web"], Names(await known.TakeAsync()));
        await using var unknown = served.Python(null, "spiffe://cluster.local/node/node-9");
        await unknown.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal("UNAUTHENTICATED", (string?)(await unknown.HearAsync())["end"]);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_certificate_of_another_root_ends_the_handshake()
    {
        using var root = TestCertificates.Root();
        await using var served = await ServedMesh.StartAsync();
        await using var client = served.Python(null, "spiffe://cluster.local/node/node-2", root);
        await client.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal("UNAVAILABLE", (string?)(await client.HearAsync())["end"]);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task Clients_that_are_added_are_known_at_once_and_removed_ones_no_longer()
    {
        await using var served = await ServedMesh.StartAsync();
        await File.WriteAllTextAsync(served.ClientsPath, "clients:\n- {node: node-1, token: another-token-long-enough}\n");
        await using var added = served.Python("another-token-long-enough");
        await added.TellAsync(new JsonObject { ["type_url"] = Authorization });
        await added.TakeAsync();
        await using var removed = served.Python(FirstToken);
        await removed.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal("UNAUTHENTICATED", (string?)(await removed.HearAsync())["end"]);

        // A file that is broken changes nothing.
        await File.WriteAllTextAsync(served.ClientsPath, "clients: [");
        await using var again = served.Python("another-token-long-enough");
        await again.TellAsync(new JsonObject { ["type_url"] = Authorization });
        await again.TakeAsync();
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task A_node_gets_certificates_of_the_workloads_that_run_on_it_and_of_no_others()
    {
        var (web, cart) = (SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web"), SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart"));
        await using var served = await ServedMesh.StartAsync();
        await using var node = served.Python(FirstToken);
        using var request = new CertificateSigningRequest(web);
        await node.TellAsync(Certificate(request.Pem, web));
        var chain = (await node.HearAsync())["chain"]!.AsArray();
        using var leaf = X509Certificate2.CreateFromPem((string)chain[0]!);
        Assert.True(SpiffeId.TryRead(leaf, out var identity, out _));
        Assert.Equal(web, identity);
        Assert.Equal((await File.ReadAllTextAsync(served.RootPath)).Trim(), ((string)chain[1]!).Trim());

        await node.TellAsync(Certificate(request.Pem, cart));
        Assert.Equal(
            """{"details":"no workload with the identity spiffe://cluster.local/ns/shop/sa/cart runs on node node-1","end":"PERMISSION_DENIED"}""",
            (await node.HearAsync()).ToJsonString());

        // What the signing request says of names counts for nothing.
        using var lying = new CertificateSigningRequest(cart);
        await node.TellAsync(Certificate(lying.Pem, web));
        using var named = X509Certificate2.CreateFromPem((string)(await node.HearAsync())["chain"]![0]!);
        Assert.True(SpiffeId.TryRead(named, out identity, out _));
        Assert.Equal(web, identity);

        // A workload that leaves takes the right with it.
        served.State.Update(editor => editor.RemoveWorkload("web"));
        await node.TellAsync(Certificate(request.Pem, web));
        Assert.Equal("PERMISSION_DENIED", (string?)(await node.HearAsync())["end"]);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task An_application_gets_its_own_certificate_for_no_longer_than_is_allowed()
    {
        await using var served = await ServedMesh.StartAsync(new ControlPlaneOptions { MaxCertificateLifetime = TimeSpan.FromMinutes(10) });
        await using var application = served.Python("token-of-an-application");
        using var request = new CertificateSigningRequest(SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/pay"));
        await application.TellAsync(Certificate(request.Pem, null, seconds: 86_400));
        using var leaf = X509Certificate2.CreateFromPem((string)(await application.HearAsync())["chain"]![0]!);
        Assert.True(leaf.NotAfter.ToUniversalTime() < DateTime.UtcNow.AddMinutes(11));
        await application.TellAsync(Certificate(request.Pem, SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web")));
        Assert.Equal("PERMISSION_DENIED", (string?)(await application.HearAsync())["end"]);
    }

    [RequiresProgramTheory(Python, PythonPackages, PythonGrpc, Protoc)]
    [InlineData("", "spiffe://cluster.local/ns/shop/sa/web", "csr: ")]
    [InlineData("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "spiffe://cluster.local/ns/shop/sa/web", "csr: ")]
    [InlineData("", "cluster.local/ns/shop/sa/web", "ImpersonatedIdentity: ")]
    [InlineData("", null, "the request names no ImpersonatedIdentity")]
    public async Task A_request_that_cannot_be_read_is_refused(string csr, string? identity, string reason)
    {
        await using var served = await ServedMesh.StartAsync();
        await using var node = served.Python(FirstToken);
        var request = new JsonObject { ["csr"] = csr };
        if (identity is not null)
        {
            request["metadata"] = new JsonObject { ["ImpersonatedIdentity"] = identity };
        }

        await node.TellAsync(new JsonObject { ["certificate"] = request });
        var answer = await node.HearAsync();
        Assert.Equal("INVALID_ARGUMENT", (string?)answer["end"]);
        Assert.StartsWith(reason, (string?)answer["details"]);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task More_streams_and_names_than_are_allowed_are_refused()
    {
        await using var served = await ServedMesh.StartAsync(new ControlPlaneOptions { MaxStreams = 1, MaxNames = 2 });
        await using var first = served.Python(FirstToken);
        await first.TellAsync(new JsonObject { ["type_url"] = Authorization });
        await first.TakeAsync();
        await using var second = served.Python(SecondToken);
        await second.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal("RESOURCE_EXHAUSTED", (string?)(await second.HearAsync())["end"]);

        // A name too many has no answer, not a wrong one.
        await first.TellAsync(new JsonObject { ["type_url"] = Address, ["resource_names_subscribe"] = new JsonArray("a", "b", "cart") });
        var answer = await first.TakeAsync();
        Assert.Equal("""["a","b"]""", answer["removed"]!.ToJsonString());
        Assert.Equal(["web"], Names(answer));
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task An_open_stream_ends_when_its_client_is_no_longer_known()
    {
        await using var served = await ServedMesh.StartAsync(new ControlPlaneOptions { AuthenticationInterval = TimeSpan.FromMilliseconds(50), MaxStreamsPerClient = 1 });
        await using var client = served.Python(FirstToken);
        await client.TellAsync(new JsonObject { ["type_url"] = Authorization });
        await client.TakeAsync();
        await using var second = served.Python(FirstToken);
        await second.TellAsync(new JsonObject { ["type_url"] = Authorization });
        Assert.Equal("RESOURCE_EXHAUSTED", (string?)(await second.HearAsync())["end"]);

        await File.WriteAllTextAsync(served.ClientsPath, "clients: []\n");
        Assert.Equal("UNAUTHENTICATED", (string?)(await client.HearAsync())["end"]);
        await Eventually.Until("the stream is gone", () => served.Streams == 0);
    }

    [Fact]
    public async Task Who_asks_for_certificates_and_does_not_go_on_holds_few_places_and_not_for_long()
    {
        var time = new FakeTimeProvider();
        using var authority = DevelopmentCertificateAuthority.Create(time);
        using var controlPlane = new ControlPlane(new MeshState(), new AnybodyIsKnown(), authority, new ControlPlaneOptions { MaxCertificateRequestsPerClient = 1 }, time: time);
        var (silent, first) = SignAsync();
        var (_, refused) = SignAsync();
        await refused.Task.InTime();
        Assert.Equal(("8", "somebody has 1 requests for certificates open"), refused.Status);

        time.Advance(TimeSpan.FromSeconds(30));
        await first.Task.InTime();
        Assert.Equal(("4", "the request did not come within 00:00:30"), first.Status);

        // The place is free again; an empty request has a better answer than RESOURCE_EXHAUSTED.
        var (request, third) = SignAsync();
        await request.CompleteAsync();
        await third.Task.InTime();
        Assert.Equal("3", third.Status.Code);
        await silent.CompleteAsync();

        (PipeWriter Request, Call Answer) SignAsync()
        {
            var pipe = new Pipe();
            return (pipe.Writer, Serve(controlPlane, ControlPlane.CertificatePath, pipe.Reader.AsStream(), Stream.Null));
        }
    }

    [Fact]
    public async Task A_client_that_goes_without_a_word_is_no_failure_of_ours()
    {
        using var controlPlane = new ControlPlane(new MeshState(), new AnybodyIsKnown());
        var asking = new Pipe();
        await asking.Writer.CompleteAsync(new IOException("the client reset the request stream"));
        var gone = Serve(controlPlane, ControlPlane.DiscoveryPath, asking.Reader.AsStream(), Stream.Null);
        await gone.Task.InTime();
        Assert.Equal(("14", "the stream broke"), gone.Status);
    }

    [Fact]
    public async Task An_app_with_limits_of_its_own_can_map_it()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        using var certificate = authority.IssueServer(["localhost"]);
        using var controlPlane = new ControlPlane(new MeshState(), new AnybodyIsKnown());
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = 10;
            kestrel.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(certificate));
        });
        await using var app = builder.Build();
        app.MapControlPlane(controlPlane);
        await app.StartAsync();
        await using var client = new XdsClient(new XdsClientOptions
        {
            Endpoint = new ControlPlaneEndpoint { Address = new Uri($"https://localhost:{new Uri(app.Urls.Single()).Port}"), RootCertificates = authority.Root.ExportCertificatePem() },
            Node = new XdsNode("n"),
        });
        new MeshResources(new MeshState()).SubscribeTo(client);
        client.Start();
        await client.Ready.InTime();
    }

    [Fact]
    public async Task A_client_that_takes_nothing_and_one_that_nobody_can_tell_any_more_lose_their_streams()
    {
        var time = new FakeTimeProvider();
        var authenticator = new AnybodyIsKnown();
        var state = new MeshState();
        state.Update(mesh => mesh.Upsert(new Workload { Uid = "web", Namespace = "shop" }));
        using var controlPlane = new ControlPlane(state, authenticator, time: time);
        var (asking, taking) = (new Pipe(), new Pipe(new PipeOptions(pauseWriterThreshold: 1, resumeWriterThreshold: 1)));
        await asking.Writer.WriteAsync(GrpcFraming.Write(new DeltaDiscoveryRequest { TypeUrl = Address }));
        var stalled = Serve(controlPlane, ControlPlane.DiscoveryPath, asking.Reader.AsStream(), taking.Writer.AsStream());
        await taking.Reader.ReadAsync();
        await Eventually.Until("the writer waits", () =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return stalled.Task.IsCompleted;
        });
        Assert.Equal(("4", "the client took nothing for 00:01:00"), stalled.Status);

        var known = Serve(controlPlane, ControlPlane.DiscoveryPath, new Pipe().Reader.AsStream(), Stream.Null);
        await Eventually.Until("the stream is open", () => controlPlane.Streams == 1);
        authenticator.Fails = true;
        await Eventually.Until("it is looked at again", () =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return known.Task.IsCompleted;
        });
        Assert.Equal("16", known.Status.Code);
    }

    [RequiresProgram(Python, PythonPackages, PythonGrpc, Protoc)]
    public async Task On_demand_an_address_that_changes_hands_is_told_with_its_new_owner()
    {
        await using var served = await ServedMesh.StartAsync();
        await using var client = served.Python(FirstToken);
        await client.TellAsync(new JsonObject { ["type_url"] = Address, ["resource_names_subscribe"] = new JsonArray("/10.0.0.2", "/10.97.1.1") });
        var first = await client.TakeAsync();
        Assert.Equal("""["/10.0.0.2"]""", first["resources"]!["cart"]!["aliases"]!.ToJsonString());
        Assert.Equal("""["/10.97.1.1"]""", first["removed"]!.ToJsonString());

        // The old owner gets another address, and the new one this, in one change.
        var cart = served.State.Current.FindWorkload("cart")!;
        served.State.Update(editor =>
        {
            editor.Upsert(cart with { Addresses = [IPAddress.Parse("10.0.0.9")] });
            editor.Upsert(cart with { Uid = "heir", Name = "heir-0", Services = cart.Services.Clear() });
        });
        var second = await client.TakeAsync();
        Assert.Equal("""["/10.0.0.2"]""", second["resources"]!["heir"]!["aliases"]!.ToJsonString());
        Assert.Equal("[]", second["resources"]!["cart"]!["aliases"]!.ToJsonString());

        // A range that comes later covers what was asked for.
        var service = served.State.Current.Services.Single();
        served.State.Update(editor => editor.Upsert(service with { Name = "wide", Hostname = "wide.example", Vips = [], CidrVips = [new NetworkRange("", System.Net.IPNetwork.Parse("10.97.0.0/16"))] }));
        var third = await client.TakeAsync();
        Assert.Equal("""["/10.97.1.1"]""", third["resources"]!["shop/wide.example"]!["aliases"]!.ToJsonString());
    }

    [Fact]
    public async Task A_client_of_ours_has_the_same_mesh_and_follows_it()
    {
        await using var served = await ServedMesh.StartAsync();
        var state = new MeshState();
        await using var client = served.Client();
        new MeshResources(state).SubscribeTo(client);
        client.Start();
        await client.Ready.InTime();
        Assert.Equal(served.State.Current.Policies.Policies.Select(AuthorizationWriter.Write), state.Current.Policies.Policies.Select(AuthorizationWriter.Write));
        Assert.Equal(served.State.Current.Workloads.Select(AddressWriter.Write), state.Current.Workloads.Select(AddressWriter.Write));
        Assert.Equal(served.State.Current.Services.Select(AddressWriter.Write), state.Current.Services.Select(AddressWriter.Write));

        served.State.Update(editor => editor.RemoveWorkload("cart"));
        await Eventually.Until("the removal has arrived", () => state.Current.WorkloadCount == 1);
    }

    [Fact]
    public async Task A_client_of_ours_asks_on_demand_and_is_told_of_what_is_not_there()
    {
        await using var served = await ServedMesh.StartAsync();
        var state = new MeshState();
        await using var client = served.Client();
        var addresses = new MeshResources(state).SubscribeTo(client, onDemand: true);
        client.Start();
        Assert.Equal(XdsDemand.Found, await addresses.DemandAsync("/10.96.0.2").InTime());
        Assert.NotNull(state.Current.FindService(new NamespacedHostname("shop", "cart.shop.svc.cluster.local")));
        Assert.Single(state.Current.EndpointsOf(new NamespacedHostname("shop", "cart.shop.svc.cluster.local")));
        Assert.Equal(XdsDemand.Absent, await addresses.DemandAsync("/10.9.9.9").InTime());
    }

    private static JsonObject Certificate(string csr, SpiffeId? identity, int seconds = 3600)
    {
        var request = new JsonObject { ["csr"] = csr, ["validity_duration"] = seconds };
        if (identity is not null)
        {
            request["metadata"] = new JsonObject { ["ImpersonatedIdentity"] = identity.ToString() };
        }

        return new JsonObject { ["certificate"] = request };
    }

    private static IEnumerable<string> Names(JsonObject response) => response["resources"]!.AsObject().Select(one => one.Key).Order(StringComparer.Ordinal);

    private static Call Serve(ControlPlane controlPlane, string path, Stream request, Stream response)
    {
        var trailers = new ConcurrentDictionary<string, string>();
        var call = new ControlPlaneCall { Path = path, Metadata = _ => null, Request = request, Response = response, SetTrailer = (name, value) => trailers[name] = value };
        return new Call(controlPlane.ServeAsync(call, default), trailers);
    }

    private sealed record Call(Task Task, IReadOnlyDictionary<string, string> Trailers)
    {
        public (string Code, string? Message) Status => (Trailers["grpc-status"], Trailers.GetValueOrDefault("grpc-message"));
    }

    private sealed class AnybodyIsKnown : IClientAuthenticator
    {
        public bool Fails { get; set; }

        public ControlPlaneClient Authenticate(ControlPlaneCall call) => Fails ? throw new IOException("the list is gone") : new("somebody", null, []);
    }
}
