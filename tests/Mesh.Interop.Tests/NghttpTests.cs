using Mesh.Hbone.Server;
using Mesh.Testing;
using static Mesh.Interop.PeerFiles;

namespace Mesh.Interop;

/// <summary>nghttp, the client of nghttp2, against our listener. It sends no CONNECT; what it sends is refused, and the connection stays.</summary>
public sealed class NghttpTests : IAsyncLifetime
{
    private readonly PeerFiles _files = new();
    private HboneListener _listener = null!;

    public Task InitializeAsync()
    {
        _listener = _files.Listen();
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _listener.DisposeAsync();
        await _files.DisposeAsync();
    }

    // It first sends PRIORITY on idle streams, and opens its own above them, each with a priority.
    [RequiresProgram(Nghttp, NghttpPackage)]
    public async Task What_is_not_a_CONNECT_is_refused_and_the_connection_stays()
    {
        const int Count = 20;
        await using var peer = _files.NghttpClient(_listener, $"--multiply={Count}");
        var connections = new HashSet<long>();
        for (var i = 0; i < Count; i++)
        {
            using var request = await _listener.AcceptAsync().InTime();
            Assert.Equal(("GET", Web), (request!.Method, request.PeerIdentity));
            connections.Add(request.ConnectionId);
            request.Refuse(405);
        }

        Assert.Equal(0, await peer.ExitAsync());
        Assert.Single(connections);
        Assert.Equal(Count, Lines(peer, ":status: 405"));
        Assert.Equal(0, Lines(peer, "recv GOAWAY"));
    }

    [RequiresProgram(Nghttp, NghttpPackage)]
    public async Task A_CONNECT_with_a_path_is_reset()
    {
        await using var peer = _files.NghttpClient(_listener, "--header=:method: CONNECT");
        Assert.Equal(0, await peer.ExitAsync());

        await peer.LogsAsync("recv RST_STREAM", "stream_id=13");
        await peer.LogsAsync("error_code=PROTOCOL_ERROR");
        Assert.Equal(0, Lines(peer, "recv GOAWAY"));
    }

    [RequiresProgramTheory(Nghttp, NghttpPackage)]
    [InlineData("--padding=255")]
    [InlineData("--header-table-size=0")]
    [InlineData("--header-table-size=65536")]
    [InlineData("--window-bits=10")]
    [InlineData("--no-dep")]
    public async Task A_large_upload_with_large_headers_is_refused_with_a_status(string option)
    {
        var upload = typeof(NghttpTests).Assembly.Location;
        await using var peer = _files.NghttpClient(_listener, "--continuation", $"--data={upload}", option);
        using var request = await _listener.AcceptAsync().InTime();
        Assert.Equal("POST", request!.Method);
        Assert.Equal(6, request.Headers.Count(field => field.Key.StartsWith("continuation-test-", StringComparison.Ordinal)));
        request.Refuse(405);

        Assert.Equal(0, await peer.ExitAsync());
        Assert.True(Lines(peer, ":status: 405") == 1, $"no status 405 in:{Environment.NewLine}{peer.Output}");
        Assert.Equal(0, Lines(peer, "recv GOAWAY"));
    }

    private static int Lines(Peer peer, string part) => peer.Output.Split(Environment.NewLine).Count(line => line.Contains(part, StringComparison.Ordinal));
}
