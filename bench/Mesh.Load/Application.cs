using System.Net;
using System.Net.Sockets;

namespace Mesh.Load;

/// <summary>The far application: the first octet of a connection says whether it echoes or discards.</summary>
internal sealed class Application : IAsyncDisposable
{
    public const byte Discard = (byte)'d';
    public const byte Echo = (byte)'e';
    private readonly IPEndPoint _address;
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly Task _accepting;

    public Application(IPEndPoint address)
    {
        _address = address;
        _listener.Bind(address);
        _listener.Listen(1024);
        _accepting = Task.Run(AcceptAsync);
    }

    public async Task<Stream> ConnectAsync() => await Sockets.ConnectAsync(_address);

    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        await _accepting;
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            try
            {
                var socket = await _listener.AcceptAsync();
                socket.NoDelay = true;
                _ = Task.Run(() => ServeAsync(socket));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private static async Task ServeAsync(Socket socket)
    {
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        var buffer = new byte[256 * 1024];
        try
        {
            await stream.ReadExactlyAsync(buffer.AsMemory(0, 1));
            var echo = buffer[0] == Echo;
            while (await stream.ReadAsync(buffer) is var read && read > 0)
            {
                if (echo)
                {
                    await stream.WriteAsync(buffer.AsMemory(0, read));
                }
            }
        }
        catch (IOException)
        {
            // The client has gone.
        }
    }
}

/// <summary>Plain connections.</summary>
internal static class Sockets
{
    public static async Task<NetworkStream> ConnectAsync(IPEndPoint address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(address);
        return new NetworkStream(socket, ownsSocket: true);
    }
}
