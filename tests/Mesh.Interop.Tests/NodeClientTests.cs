using Mesh.Core.Identity;
using Mesh.Hbone.Server;
using Mesh.Testing;

namespace Mesh.Interop;

/// <summary>Node's HTTP/2 client against our listener.</summary>
public sealed class NodeClientTests : IAsyncLifetime
{
    private const string Node = "node";
    private const string Package = "nodejs";
    private const long HundredMegabytes = 100 * 1000 * 1000;
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

    [RequiresProgram(Node, Package)]
    public async Task A_hundred_megabytes_go_both_ways_octet_for_octet()
    {
        await using var peer = _files.NodeClient(_listener, "echo", new TestLeaf(), HundredMegabytes);
        using var request = await _listener.AcceptAsync().InTime();
        Assert.Equal(("CONNECT", "10.0.0.1:80", PeerFiles.Web), (request!.Method, request.Authority, request.PeerIdentity));
        Assert.Equal("k8s.cluster.name=node", request.Headers["baggage"]);
        await using var tunnel = request.Accept();
        await tunnel.EchoAsync().InTime();

        var sent = await peer.SaysAsync("sent ");
        Assert.StartsWith($"{HundredMegabytes} ", sent);
        Assert.Equal(sent, await peer.SaysAsync("received "));
        await peer.SaysAsync("done");
    }

    [RequiresProgram(Node, Package)]
    public async Task A_client_that_has_ended_hears_the_answer()
    {
        await using var peer = _files.NodeClient(_listener, "client-first", new TestLeaf());
        using var request = await _listener.AcceptAsync().InTime();
        await using var tunnel = request!.Accept(new() { { "baggage", "k8s.cluster.name=ours" } });
        Assert.Equal("hello", await tunnel.Input.HearAsync().InTime());
        await tunnel.Output.SayAsync("and good bye");

        Assert.Equal("and good bye", await peer.SaysAsync("heard "));
        Assert.Equal("200 k8s.cluster.name=ours", await peer.SaysAsync("status "));
        await peer.SaysAsync("session-closed");
    }

    [RequiresProgram(Node, Package)]
    public async Task A_client_that_has_heard_our_end_is_still_heard()
    {
        await using var peer = _files.NodeClient(_listener, "server-first", new TestLeaf());
        using var request = await _listener.AcceptAsync().InTime();
        await using var tunnel = request!.Accept();
        await tunnel.Output.SayAsync("that was all");

        Assert.Equal("that was all", await peer.SaysAsync("heard "));
        Assert.Equal("after your end", await tunnel.Input.HearAsync().InTime());
        await peer.SaysAsync("session-closed");
    }

    [RequiresProgramTheory(Node, Package)]
    [InlineData(400)]
    [InlineData(401)]
    [InlineData(503)]
    public async Task A_refusal_arrives_with_its_status_and_nothing_behind_it(int status)
    {
        await using var peer = _files.NodeClient(_listener, "echo", new TestLeaf());
        using var request = await _listener.AcceptAsync().InTime();
        request!.Refuse(status);

        Assert.Equal($"{status}", await peer.SaysAsync("status "));
        await peer.SaysAsync("end");
    }

    public static TheoryData<string, PeerRejection, string, string> Impostors => new()
    {
        { "of another trust domain", PeerRejection.WrongTrustDomain, "peer identity spiffe://other.example/ns/shop/sa/web is not of the trust domain cluster.local", "SSLV3_ALERT_BAD_CERTIFICATE" },
        { "two names", PeerRejection.SeveralUriNames, "the certificate has 2 URI names", "SSLV3_ALERT_BAD_CERTIFICATE" },
        { "expired", PeerRejection.Expired, "expired at ", "SSLV3_ALERT_CERTIFICATE_EXPIRED" },
        { "self-signed", PeerRejection.SelfSigned, "it is self-signed and not a root of the trust domain cluster.local", "TLSV1_ALERT_UNKNOWN_CA" },
        { "no certificate", PeerRejection.NoCertificate, "the peer presented no certificate", "TLSV13_ALERT_CERTIFICATE_REQUIRED" },
    };

    [RequiresProgramTheory(Node, Package)]
    [MemberData(nameof(Impostors))]
    public async Task An_impostor_gets_no_request_through_and_the_reason_is_told(string impostor, PeerRejection rejection, string reason, string alert)
    {
        await using var peer = _files.NodeClient(_listener, "echo", Leaf(impostor));
        var failure = await _failed.Task.InTime();

        Assert.Equal(rejection, failure.Rejection);
        Assert.Contains(reason, failure.Reason, StringComparison.Ordinal);
        Assert.Equal(_listener.LocalEndPoint, failure.LocalEndPoint);
        Assert.Equal($"ERR_SSL_{alert}", await peer.SaysAsync("stream-error "));
        Assert.DoesNotContain("status", peer.Output, StringComparison.Ordinal);
    }

    private static TestLeaf? Leaf(string impostor) => impostor switch
    {
        "of another trust domain" => new TestLeaf { Uris = ["spiffe://other.example/ns/shop/sa/web"] },
        "two names" => new TestLeaf { Uris = ["spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/admin"] },
        "expired" => new TestLeaf { NotBefore = DateTimeOffset.UtcNow.AddSeconds(-30), NotAfter = DateTimeOffset.UtcNow.AddSeconds(-10) },
        "self-signed" => new TestLeaf { SelfSigned = true },
        _ => null,
    };
}
