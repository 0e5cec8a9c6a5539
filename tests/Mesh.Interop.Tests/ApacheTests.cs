using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Testing;
using static Mesh.Interop.PeerFiles;

namespace Mesh.Interop;

/// <summary>Our pool against Apache httpd, which connects to real addresses: mod_http2, mod_proxy_connect and mutual TLS.</summary>
/// <remarks>It does not tell us that a target has ended before we have, so that only we can end a tunnel.</remarks>
public sealed class ApacheTests : IAsyncLifetime
{
    private const long TenMegabytes = 10 * 1000 * 1000;
    private readonly PeerFiles _files = new();
    private readonly TcpTarget _echo = TcpTarget.Echo();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _echo.DisposeAsync();
        await _files.DisposeAsync();
    }

    [RequiresProgram(Apache, ApachePackage, ApacheModule)]
    public async Task Ten_megabytes_go_both_ways_octet_for_octet()
    {
        var (peer, destination) = await _files.ApacheAsync(_echo.Port);
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, _echo.Authority).InTime();
        Assert.Equal(Cart, tunnel.PeerIdentity);
        var sending = tunnel.Output.SendRandomAsync(TenMegabytes, seed: 1);

        var received = await tunnel.Input.SumAsync().InTime();
        Assert.Equal(await sending.InTime(), received);
    }

    // It works on six requests of a connection at once, until it has come to trust it.
    [RequiresProgram(Apache, ApachePackage, ApacheModule)]
    public async Task Six_tunnels_at_once_share_a_connection()
    {
        var (peer, destination) = await _files.ApacheAsync(_echo.Port);
        await using var ending = peer;
        await using var pool = _files.Pool();
        var tunnels = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => pool.ConnectAsync(destination, _echo.Authority))).InTime();
        Assert.Equal(1, pool.ConnectionCount);

        await Task.WhenAll(tunnels.Select(async (tunnel, i) =>
        {
            var sending = tunnel.Output.SendRandomAsync(1_000_000, seed: i);
            Assert.Equal(await tunnel.Input.SumAsync(), await sending);
            await tunnel.DisposeAsync();
        })).InTime();
    }

    [RequiresProgram(Apache, ApachePackage, ApacheModule)]
    public async Task A_target_that_has_heard_our_end_is_still_heard()
    {
        await using var target = TcpTarget.Start(async stream =>
        {
            var heard = await new StreamReader(stream, leaveOpen: true).ReadToEndAsync();
            await stream.WriteAsync(System.Text.Encoding.UTF8.GetBytes($"you said {heard}"));
        });
        var (peer, destination) = await _files.ApacheAsync(target.Port);
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, target.Authority).InTime();
        await tunnel.Output.SayAsync("hello");

        Assert.Equal("you said hello", await tunnel.Input.HearAsync().InTime());
    }

    [RequiresProgram(Apache, ApachePackage, ApacheModule)]
    public async Task A_refusal_is_told_with_its_status_and_leaves_the_connection_in_use()
    {
        var closed = LocalPort.Free();
        var (peer, destination) = await _files.ApacheAsync(_echo.Port, closed);
        await using var ending = peer;
        await using var pool = _files.Pool();
        foreach (var (authority, status) in ((string, int)[])[("127.0.0.1:1", 403), ($"127.0.0.1:{closed}", 503)])
        {
            var refusal = await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(destination, authority).InTime());
            Assert.Equal((HboneError.Refused, status), (refusal.Error, refusal.Status));
        }

        await using var next = await pool.ConnectAsync(destination, _echo.Authority).InTime();
        Assert.Equal(1, pool.ConnectionCount);
    }

    // It fails the whole connection when a request meets its GOAWAY; so there is none.
    [RequiresProgram(Apache, ApachePackage, ApacheModule)]
    public async Task A_server_that_drains_lets_its_tunnel_finish()
    {
        var (peer, destination) = await _files.ApacheAsync(_echo.Port);
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, _echo.Authority).InTime();
        peer.Signal("WINCH");
        await peer.LogsAsync("shutting down gracefully");

        var sending = tunnel.Output.SendRandomAsync(TenMegabytes, seed: 2);
        Assert.Equal(await tunnel.Input.SumAsync().InTime(), await sending.InTime());
        await tunnel.DisposeAsync();
        Assert.Equal(0, await peer.ExitAsync());
    }

    [RequiresProgram(Apache, ApachePackage, ApacheModule)]
    public async Task A_server_of_another_identity_is_rejected()
    {
        var (peer, destination) = await _files.ApacheAsync(_echo.Port);
        await using var ending = peer;
        await using var pool = _files.Pool();
        var wrong = new HboneDestination(Web, [Web], destination.EndPoint);

        Assert.Equal(HboneError.PeerRejected, (await Assert.ThrowsAsync<HboneException>(() => pool.ConnectAsync(wrong, _echo.Authority).InTime())).Error);
    }
}
