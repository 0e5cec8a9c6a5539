using System.Net;
using System.Net.Sockets;

namespace Mesh.Xds.Client;

/// <summary>A network between a client and its server that fails in the middle of what the server says.</summary>
internal sealed class CuttingRelay : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly int _server;
    private readonly Task _accepting;
    private long _left = long.MaxValue;

    public CuttingRelay(int server)
    {
        _server = server;
        _listener.Start();
        _accepting = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>Ends the connection that there is when so many more octets of the server have passed. Later ones are whole again.</summary>
    public void CutAfter(long octets) => Volatile.Write(ref _left, octets);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        var connections = new List<Task>();
        try
        {
            while (true)
            {
                connections.Add(RelayAsync(await _listener.AcceptTcpClientAsync(_stop.Token)));
            }
        }
        finally
        {
            await Task.WhenAll(connections).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task RelayAsync(TcpClient client)
    {
        using var server = new TcpClient();
        using (client)
        {
            await server.ConnectAsync(IPAddress.Loopback, _server, _stop.Token);
            await await Task.WhenAny(client.GetStream().CopyToAsync(server.GetStream(), _stop.Token), SayAsync(server.GetStream(), client.GetStream()));
        }
    }

    private async Task SayAsync(NetworkStream server, NetworkStream client)
    {
        var buffer = new byte[16 * 1024];
        while (await server.ReadAsync(buffer, _stop.Token) is > 0 and var read)
        {
            var passes = (int)Math.Min(read, Volatile.Read(ref _left));
            await client.WriteAsync(buffer.AsMemory(0, passes), _stop.Token);
            if (passes < read)
            {
                Volatile.Write(ref _left, long.MaxValue);
                return;
            }

            if (Volatile.Read(ref _left) != long.MaxValue)
            {
                Interlocked.Add(ref _left, -read);
            }
        }
    }
}
