using Mesh.Testing;
using static Mesh.Interop.PeerFiles;

namespace Mesh.Interop;

/// <summary>The Python library h2, which is strict about the protocol, at either end.</summary>
public sealed class PythonTests : IAsyncLifetime
{
    private const int FiveMegabytes = 5 * 1000 * 1000;
    private readonly PeerFiles _files = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync() => await _files.DisposeAsync();

    [RequiresProgram(Python, PythonPackage, PythonLibrary)]
    public async Task A_python_client_gets_its_octets_back()
    {
        await using var listener = _files.Listen();
        await using var peer = _files.PythonClient(listener, "client", FiveMegabytes);
        using var request = await listener.AcceptAsync().InTime();
        await using var tunnel = request!.Accept();
        await tunnel.EchoAsync().InTime();

        var sent = await peer.SaysAsync("sent ");
        Assert.StartsWith($"{FiveMegabytes} ", sent);
        Assert.Equal(sent, await peer.SaysAsync("received "));
        Assert.Equal("TLSv1.3 h2", await peer.SaysAsync("tls "));
    }

    [RequiresProgram(Python, PythonPackage, PythonLibrary)]
    public async Task A_python_server_sends_our_octets_back()
    {
        var (peer, destination) = await _files.PythonServerAsync();
        await using var ending = peer;
        await using var pool = _files.Pool();
        await using var tunnel = await pool.ConnectAsync(destination, "10.0.0.1:80").InTime();
        var sending = tunnel.Output.SendRandomAsync(FiveMegabytes, seed: 2);

        Assert.Equal(await sending.InTime(), await tunnel.Input.SumAsync().InTime());
        Assert.Equal(":method=CONNECT :authority=10.0.0.1:80", await peer.SaysAsync("request "));
    }

    [RequiresProgram(Python, PythonPackage, PythonLibrary)]
    public async Task A_GET_is_handed_out_and_can_only_be_refused()
    {
        await using var listener = _files.Listen();
        await using var peer = _files.PythonClient(listener, "get");
        using var request = await listener.AcceptAsync().InTime();
        Assert.Equal("GET", request!.Method);
        Assert.Throws<InvalidOperationException>(() => request.Accept());
        request.Refuse(400);

        Assert.Equal("400", await peer.SaysAsync("status "));
        await peer.SaysAsync("done");
    }
}
