using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Interop.PeerFiles;

namespace Mesh.Interop;

/// <summary>Our client and pool against the server of Go's golang.org/x/net/http2.</summary>
public sealed class GoServerTests : IAsyncLifetime
{
    private const long TenMegabytes = 10 * 1000 * 1000;
    private readonly PeerFiles _files = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync() => await _files.DisposeAsync();

    [RequiresProgramTheory(Go, GoPackages, GoLibrary)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Ten_megabytes_go_both_ways_octet_for_octet(bool pooled)
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = pooled
            ? await pool.ConnectAsync(destination, "echo:80").InTime()
            : await new HboneClient(_files.Certificates).ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal("k8s.cluster.name=go", tunnel.Headers["baggage"]);
        var sending = tunnel.Output.SendRandomAsync(TenMegabytes, seed: 1);

        var received = await tunnel.Input.SumAsync().InTime();
        Assert.Equal(await sending.InTime(), received);
        Assert.Equal(TenMegabytes, received.Count);
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task The_server_sees_our_identity_and_our_CONNECT()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "echo:80").InTime();

        Assert.Equal(Cart, tunnel.PeerIdentity);
        Assert.Equal($"CONNECT echo:80 from {Web} over HTTP/2.0", await peer.SaysAsync("request "));
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_hundred_tunnels_at_once_share_a_connection()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        var tunnels = await Task.WhenAll(Enumerable.Range(0, 100).Select(_ => pool.ConnectAsync(destination, "echo:80"))).InTime();
        Assert.Equal(1, pool.ConnectionCount);

        await Task.WhenAll(tunnels.Select(async (tunnel, i) =>
        {
            var sending = tunnel.Output.SendRandomAsync(200_000, seed: i);
            Assert.Equal(await tunnel.Input.SumAsync(), await sending);
            await tunnel.DisposeAsync();
        })).InTime();
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_server_that_has_heard_our_end_is_still_heard()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "client-first:80").InTime();
        await tunnel.Output.SayAsync("hello");

        Assert.Equal("you said hello", await tunnel.Input.HearAsync().InTime());
    }

    // It sends END_STREAM, and RST_STREAM with NO_ERROR behind it.
    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_server_that_ends_a_stream_both_ways_is_heard_to_the_end()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "server-first:80").InTime();

        Assert.Equal("hello", await tunnel.Input.HearAsync().InTime());
        await Eventually.Until("flushes say that nobody reads", () => tunnel.Output.WriteAsync(new byte[1]).AsTask().Result.IsCompleted);
        await using var next = await pool.ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal(1, pool.ConnectionCount);
    }

    [RequiresProgramTheory(Go, GoPackages, GoLibrary)]
    [InlineData(400)]
    [InlineData(401)]
    [InlineData(503)]
    public async Task A_refusal_is_told_with_its_status_and_leaves_the_connection_in_use(int status)
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        var refusal = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(destination, $"refuse{status}:80").InTime());
        Assert.Equal((HboneError.Refused, status), (refusal.Error, refusal.Status));

        await using var next = await pool.ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal(1, pool.ConnectionCount);
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_reset_is_told_with_its_code()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "reset:80").InTime();
        await tunnel.Output.SayAsync("give up", complete: false);

        var reset = await Assert.ThrowsAsync<HboneException>(() => tunnel.Input.SumAsync().InTime());
        Assert.Equal((HboneError.Reset, Http2ErrorCode.InternalError), (reset.Error, reset.Code));
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_server_that_drains_lets_its_tunnels_finish_and_takes_no_more()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var first = await pool.ConnectAsync(destination, "echo:80").InTime();
        await using var second = await pool.ConnectAsync(destination, "drain:80").InTime();

        // Until GOAWAY is here, the request is refused; then it wants another connection, which the server does not take.
        async Task<HboneError> AnotherAsync() => (await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(destination, "refuse503:80").InTime())).Error;
        await Eventually.Until("the server takes no more", () => AnotherAsync().Result is HboneError.ConnectFailed);

        foreach (var tunnel in (HboneTunnel[])[first, second])
        {
            var sending = tunnel.Output.SendRandomAsync(1_000_000, seed: 3);
            Assert.Equal(await tunnel.Input.SumAsync().InTime(), await sending.InTime());
        }

        await peer.SaysAsync("drained");
        Assert.Equal(0, await peer.ExitAsync());
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_server_of_another_identity_is_rejected()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        var wrong = new HboneDestination(Web, [Web], destination.EndPoint);

        var rejected = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(wrong, "echo:80").InTime());
        Assert.Equal(HboneError.PeerRejected, rejected.Error);
        Assert.DoesNotContain("request", peer.Output, StringComparison.Ordinal);
    }

    [RequiresProgram(Go, GoPackages, GoLibrary)]
    public async Task A_server_that_dies_fails_the_tunnel_as_lost()
    {
        var (peer, destination) = await _files.GoServerAsync();
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "echo:80").InTime();
        await peer.DisposeAsync();

        var lost = await Assert.ThrowsAsync<HboneException>(() => tunnel.Input.SumAsync().InTime());
        Assert.Equal(HboneError.ConnectionLost, lost.Error);
    }
}
