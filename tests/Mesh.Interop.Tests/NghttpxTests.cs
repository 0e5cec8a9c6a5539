using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Testing;
using static Mesh.Interop.PeerFiles;

namespace Mesh.Interop;

/// <summary>Our pool against nghttpx, the proxy of nghttp2: CONNECT over HTTP/2 to a proxy that asks for a client certificate.</summary>
/// <remarks>It does not tell the proxy behind it that we have ended, so that only that one can end a tunnel.</remarks>
public sealed class NghttpxTests : IAsyncLifetime
{
    private const long TenMegabytes = 10 * 1000 * 1000;
    private readonly PeerFiles _files = new();
    private readonly TcpTarget _behind = Http1Proxy.Start();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _behind.DisposeAsync();
        await _files.DisposeAsync();
    }

    [RequiresProgram(Nghttpx, NghttpxPackage)]
    public async Task Ten_megabytes_go_both_ways_octet_for_octet()
    {
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, $"echo-{TenMegabytes}:80").InTime();
        Assert.Equal(Cart, tunnel.PeerIdentity);
        var sending = tunnel.Output.SendRandomAsync(TenMegabytes, seed: 1, complete: false);

        var received = await tunnel.Input.SumAsync().InTime();
        Assert.Equal(await sending.InTime(), received);
    }

    [RequiresProgram(Nghttpx, NghttpxPackage)]
    public async Task A_hundred_tunnels_at_once_share_a_connection()
    {
        const int Count = 200_000;
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var ending = peer;
        await using var pool = _files.Pool();
        var tunnels = await Task.WhenAll(Enumerable.Range(0, 100).Select(_ => pool.ConnectAsync(destination, $"echo-{Count}:80"))).InTime();
        Assert.Equal(1, pool.ConnectionCount);

        await Task.WhenAll(tunnels.Select(async (tunnel, i) =>
        {
            var sending = tunnel.Output.SendRandomAsync(Count, seed: i, complete: false);
            Assert.Equal(await tunnel.Input.SumAsync(), await sending);
            await tunnel.DisposeAsync();
        })).InTime();
    }

    [RequiresProgram(Nghttpx, NghttpxPackage)]
    public async Task A_server_that_ends_first_is_heard_to_the_end()
    {
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "server-first:80").InTime();

        Assert.Equal("hello", await tunnel.Input.HearAsync().InTime());
        await using var next = await pool.ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal(1, pool.ConnectionCount);
    }

    [RequiresProgram(Nghttpx, NghttpxPackage)]
    public async Task A_server_that_drains_lets_its_tunnels_finish_and_takes_no_more()
    {
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, $"echo-{TenMegabytes}:80").InTime();
        peer.Signal("QUIT");

        // Until GOAWAY is here, the request is refused; then it wants another connection, which the server does not take.
        async Task<HboneError> AnotherAsync() => (await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(destination, "refuse503:80").InTime())).Error;
        await Eventually.Until("the server takes no more", () => AnotherAsync().Result is HboneError.ConnectFailed);

        var sending = tunnel.Output.SendRandomAsync(TenMegabytes, seed: 2, complete: false);
        Assert.Equal(await tunnel.Input.SumAsync().InTime(), await sending.InTime());
        await tunnel.DisposeAsync();
        Assert.Equal(0, await peer.ExitAsync());
    }

    [RequiresProgram(Nghttpx, NghttpxPackage)]
    public async Task A_server_of_another_identity_is_rejected()
    {
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var ending = peer;
        await using var pool = _files.Pool();
        var wrong = new HboneDestination(Web, [Web], destination.EndPoint);

        Assert.Equal(HboneError.PeerRejected, (await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(wrong, "echo:80").InTime())).Error);
    }

    [RequiresProgram(Nghttpx, NghttpxPackage)]
    public async Task A_server_that_dies_fails_the_tunnel_as_lost()
    {
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "echo:80").InTime();
        await peer.DisposeAsync();

        Assert.Equal(HboneError.ConnectionLost, (await Assert.ThrowsAsync<HboneException>(() => tunnel.Input.SumAsync().InTime())).Error);
    }

    [RequiresProgramTheory(Nghttpx, NghttpxPackage)]
    [InlineData(400)]
    [InlineData(403)]
    [InlineData(503)]
    public async Task A_refusal_is_told_with_its_status_and_leaves_the_connection_in_use(int status)
    {
        var (peer, destination) = await _files.NghttpxAsync(_behind);
        await using var ending = peer;
        await using var pool = _files.Pool();
        var refusal = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(destination, $"refuse{status}:80").InTime());
        Assert.Equal((HboneError.Refused, status), (refusal.Error, refusal.Status));

        await using var next = await pool.ConnectAsync(destination, "echo:80").InTime();
        Assert.Equal(1, pool.ConnectionCount);
    }
}
