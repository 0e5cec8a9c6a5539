using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Testing;

namespace Mesh.Interop;

/// <summary>Our client and pool against Node's HTTP/2 server.</summary>
public sealed class NodeServerTests : IAsyncLifetime
{
    private const string Node = "node";
    private const string Package = "nodejs";
    private const long HundredMegabytes = 100 * 1000 * 1000;
    private readonly PeerFiles _files = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync() => await _files.DisposeAsync();

    [RequiresProgramTheory(Node, Package)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_hundred_megabytes_go_both_ways_octet_for_octet(bool pooled)
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = pooled
            ? await pool.ConnectAsync(destination, "echo:80").InTime()
            : await new HboneClient(_files.Certificates).ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal(PeerFiles.Cart, tunnel.PeerIdentity);
        Assert.Equal("k8s.cluster.name=node", tunnel.Headers["baggage"]);
        var sending = tunnel.Output.SendRandomAsync(HundredMegabytes, seed: 1);

        var received = await tunnel.Input.SumAsync().InTime();
        Assert.Equal(await sending.InTime(), received);
        Assert.Equal(HundredMegabytes, received.Count);
    }

    [RequiresProgram(Node, Package)]
    public async Task The_server_sees_TLS_1_3_our_identity_and_a_CONNECT_without_scheme_and_path()
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "client-first:80").InTime();

        Assert.Equal($"TLSv1.3 true URI:{PeerFiles.Web}", await peer.SaysAsync("session "));
        Assert.Equal("CONNECT client-first:80 undefined undefined", await peer.SaysAsync("request "));
    }

    [RequiresProgram(Node, Package)]
    public async Task A_server_that_has_heard_our_end_is_still_heard()
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "client-first:80").InTime();
        await tunnel.Output.SayAsync("hello");

        Assert.Equal("you said hello", await tunnel.Input.HearAsync().InTime());
    }

    [RequiresProgram(Node, Package)]
    public async Task A_server_that_has_ended_still_hears_us()
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "server-first:80").InTime();
        Assert.Equal("hello", await tunnel.Input.HearAsync().InTime());
        await tunnel.Output.SayAsync("after your end");

        Assert.Equal("after your end", await peer.SaysAsync("heard "));
    }

    [RequiresProgramTheory(Node, Package)]
    [InlineData(400)]
    [InlineData(401)]
    [InlineData(503)]
    public async Task A_refusal_is_told_with_its_status_and_leaves_the_connection_in_use(int status)
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        var refusal = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(destination, $"refuse{status}:80").InTime());
        Assert.Equal((HboneError.Refused, status, $"http status: {status}"), (refusal.Error, refusal.Status, refusal.Message));

        await using var next = await pool.ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal(1, pool.ConnectionCount);
    }

    [RequiresProgram(Node, Package)]
    public async Task A_reset_is_told_with_its_code()
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "reset:80").InTime();
        await tunnel.Output.SayAsync("give up", complete: false);

        var reset = await Assert.ThrowsAsync<HboneException>(() => tunnel.Input.SumAsync().InTime());
        Assert.Equal((HboneError.Reset, Http2ErrorCode.InternalError), (reset.Error, reset.Code));
    }

    [RequiresProgram(Node, Package)]
    public async Task A_server_of_another_identity_is_rejected()
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        var wrong = new HboneDestination(PeerFiles.Web, [PeerFiles.Web], destination.EndPoint);

        var rejected = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(wrong, "echo:80").InTime());
        Assert.Equal(HboneError.PeerRejected, rejected.Error);
        Assert.EndsWith($"peer identity {PeerFiles.Cart} is not one of the expected: {PeerFiles.Web}", rejected.Message);
    }

    [RequiresProgram(Node, Package)]
    public async Task A_server_that_dies_fails_the_tunnel_as_lost()
    {
        var (peer, destination) = await _files.NodeServerAsync();
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "echo:80").InTime();
        await peer.DisposeAsync();

        var lost = await Assert.ThrowsAsync<HboneException>(() => tunnel.Input.SumAsync().InTime());
        Assert.Equal(HboneError.ConnectionLost, lost.Error);
    }
}
