using System.Globalization;
using Mesh.Core.Identity;
using Mesh.Hbone.Server;
using Mesh.Testing;
using static Mesh.Interop.PeerFiles;

namespace Mesh.Interop;

/// <summary>The client of Go's golang.org/x/net/http2 against our listener.</summary>
public sealed class GoClientTests : IAsyncLifetime
{
    private const long TenMegabytes = 10 * 1000 * 1000;
    private readonly TaskCompletionSource<HboneConnectionFailure> _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PeerFiles _files = new();
    private HboneListener _listener = null!;

    public Task InitializeAsync()
    {
        _listener = _files.Listen(failure => _failed.TrySetResult(failure));
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _listener.DisposeAsync();
        await _files.DisposeAsync();
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task Ten_megabytes_go_both_ways_octet_for_octet()
    {
        await using var peer = await _files.GoClientAsync(_listener, "echo", new TestLeaf(), TenMegabytes);
        using var request = await _listener.AcceptAsync().InTime();
        Assert.Equal(("CONNECT", "10.0.0.1:80", Web), (request!.Method, request.Authority, request.PeerIdentity));
        Assert.Equal("k8s.cluster.name=go", request.Headers["baggage"]);
        await using var tunnel = request.Accept(new() { { "baggage", "k8s.cluster.name=ours" } });
        await tunnel.EchoAsync().InTime();

        Assert.Equal($"{Cart}", await peer.SaysAsync("tls "));
        Assert.Equal("200 k8s.cluster.name=ours", await peer.SaysAsync("status "));
        var sent = await peer.SaysAsync("sent ");
        Assert.StartsWith($"{TenMegabytes} ", sent);
        Assert.Equal(sent, await peer.SaysAsync("received "));
        await peer.SaysAsync("done");
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_hundred_tunnels_at_once_share_a_connection()
    {
        const int Tunnels = 100;
        await using var peer = await _files.GoClientAsync(_listener, "many", new TestLeaf(), 200_000, Tunnels);
        var connections = new HashSet<long>();
        var echoes = new List<Task>();
        for (var i = 0; i < Tunnels; i++)
        {
            using var request = await _listener.AcceptAsync().InTime();
            connections.Add(request!.ConnectionId);
            echoes.Add(EchoAsync(request.Accept()));
        }

        await Task.WhenAll(echoes).InTime();
        Assert.Single(connections);
        await peer.SaysAsync("done");
        Assert.Equal(Tunnels, peer.Output.Split(Environment.NewLine).Count(line => line.StartsWith("same ", StringComparison.Ordinal)));
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_client_that_has_ended_hears_the_answer()
    {
        await using var peer = await _files.GoClientAsync(_listener, "client-first", new TestLeaf());
        using var request = await _listener.AcceptAsync().InTime();
        await using var tunnel = request!.Accept();
        Assert.Equal("hello", await tunnel.Input.HearAsync().InTime());
        await tunnel.Output.SayAsync("and good bye");

        Assert.Equal("and good bye", await peer.SaysAsync("heard "));
        await peer.SaysAsync("done");
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_client_that_has_heard_our_end_is_still_heard()
    {
        await using var peer = await _files.GoClientAsync(_listener, "server-first", new TestLeaf());
        using var request = await _listener.AcceptAsync().InTime();
        await using var tunnel = request!.Accept();
        await tunnel.Output.SayAsync("that was all");

        Assert.Equal("that was all", await peer.SaysAsync("heard "));
        Assert.Equal("after your end", await tunnel.Input.HearAsync().InTime());
        await peer.SaysAsync("done");
    }

    [RequiresProgramTheory(Go, GoPackages, GoLibrary)]
    [InlineData(400)]
    [InlineData(401)]
    [InlineData(503)]
    public async Task A_refusal_arrives_with_its_status_and_nothing_behind_it(int status)
    {
        await using var peer = await _files.GoClientAsync(_listener, "echo", new TestLeaf());
        using var request = await _listener.AcceptAsync().InTime();
        request!.Refuse(status);

        Assert.Equal(status.ToString(CultureInfo.InvariantCulture), await peer.SaysAsync("status "));
        Assert.Equal("", await peer.SaysAsync("heard "));
        await peer.SaysAsync("done");
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task What_is_not_a_CONNECT_is_refused_and_the_connection_stays()
    {
        await using var peer = await _files.GoClientAsync(_listener, "get", new TestLeaf());
        var connections = new HashSet<long>();
        for (var i = 0; i < 3; i++)
        {
            using var request = await _listener.AcceptAsync().InTime();
            Assert.Equal("GET", request!.Method);
            connections.Add(request.ConnectionId);
            request.Refuse(405);
        }

        await peer.SaysAsync("done");
        Assert.Single(connections);
        Assert.Equal("405 \"\"", await peer.SaysAsync("status "));
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_tunnel_goes_on_while_we_drain_and_is_the_last()
    {
        await using var peer = await _files.GoClientAsync(_listener, "drain", new TestLeaf(), TenMegabytes);
        using var request = await _listener.AcceptAsync().InTime();
        await using var tunnel = request!.Accept();
        var draining = _listener.DrainAsync(CancellationToken.None);
        await tunnel.Output.SayAsync("!", complete: false);
        await tunnel.EchoAsync().InTime();

        Assert.Equal(await peer.SaysAsync("sent "), await peer.SaysAsync("received "));
        Assert.NotEqual("<nil>", await peer.SaysAsync("another "));
        await draining.InTime();
    }

    public static TheoryData<string, PeerRejection> Impostors => new()
    {
        { "of another trust domain", PeerRejection.WrongTrustDomain },
        { "expired", PeerRejection.Expired },
        { "self-signed", PeerRejection.SelfSigned },
        { "no certificate", PeerRejection.NoCertificate },
    };

    [RequiresProgramTheory(Go, GoPackages, GoLibrary)]
    [MemberData(nameof(Impostors))]
    public async Task An_impostor_gets_no_request_through(string impostor, PeerRejection rejection)
    {
        await using var peer = await _files.GoClientAsync(_listener, "echo", Leaf(impostor));

        Assert.Equal(rejection, (await _failed.Task.InTime()).Rejection);
        await peer.SaysAsync("error ");
        Assert.DoesNotContain("status", peer.Output, StringComparison.Ordinal);
    }

    private static async Task EchoAsync(Hbone.HboneTunnel tunnel)
    {
        await using (tunnel)
        {
            await tunnel.EchoAsync();
        }
    }

    private static TestLeaf? Leaf(string impostor) => impostor switch
    {
        "of another trust domain" => new TestLeaf { Uris = ["spiffe://other.example/ns/shop/sa/web"] },
        "expired" => new TestLeaf { NotBefore = DateTimeOffset.UtcNow.AddSeconds(-30), NotAfter = DateTimeOffset.UtcNow.AddSeconds(-10) },
        "self-signed" => new TestLeaf { SelfSigned = true },
        _ => null,
    };
}
