using System.Net;
using System.Net.Sockets;

namespace Mesh.Interop;

/// <summary>What a CONNECT proxy connects to.</summary>
/// <param name="serve">What it does with a connection; then it ends its side, and waits for the end of the other.</param>
internal sealed class TcpTarget(Func<NetworkStream, Task> serve) : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly List<Task> _serving = [];
    private readonly List<Socket> _connections = [];
    private Task _accepting = Task.CompletedTask;

    /// <summary>Sends back what comes.</summary>
    public static TcpTarget Echo() => Start(stream => stream.CopyToAsync(stream));

    public static TcpTarget Start(Func<NetworkStream, Task> serve)
    {
        var target = new TcpTarget(serve);
        target._listener.Start();
        target._accepting = target.AcceptAsync();
        return target;
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public string Authority => $"127.0.0.1:{Port}";

    public async ValueTask DisposeAsync()
    {
        _listener.Stop();
        await _accepting;
        foreach (var connection in _connections)
        {
            connection.Dispose();
        }

        await Task.WhenAll(_serving);
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var connection = await _listener.AcceptSocketAsync();
                _connections.Add(connection);
                _serving.Add(ServeAsync(connection));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Stopped.
        }
    }

    private async Task ServeAsync(Socket connection)
    {
        try
        {
            await using var stream = new NetworkStream(connection);
            await serve(stream);
            connection.Shutdown(SocketShutdown.Send);
            await stream.CopyToAsync(Stream.Null);
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // The other side has gone.
        }
    }
}
