using System.Net.Sockets;
using System.Text;

namespace Mesh.Interop;

/// <summary>A CONNECT proxy of HTTP/1.1 that connects to nothing: what it does with a tunnel follows from the host that is asked for. It stands behind proxies that want one.</summary>
internal static class Http1Proxy
{
    public static TcpTarget Start() => TcpTarget.Start(ServeAsync);

    private static async Task ServeAsync(NetworkStream stream)
    {
        var target = await ReadHeadAsync(stream);
        var host = target[..target.IndexOf(':', StringComparison.Ordinal)];
        if (host.StartsWith("refuse", StringComparison.Ordinal))
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.1 {host["refuse".Length..]} Refused\r\nContent-Length: 0\r\n\r\n"));
            return;
        }

        await stream.WriteAsync("HTTP/1.1 200 OK\r\n\r\n"u8.ToArray());
        if (host.StartsWith("echo-", StringComparison.Ordinal))
        {
            await EchoAsync(stream, long.Parse(host["echo-".Length..]));
        }
        else if (host is "server-first")
        {
            await stream.WriteAsync("hello"u8.ToArray());
        }
        else
        {
            await stream.CopyToAsync(stream);
        }
    }

    // So many octets, for a proxy may not tell us the end of the client's.
    private static async Task EchoAsync(NetworkStream stream, long count)
    {
        var buffer = new byte[64 * 1024];
        while (count > 0 && await stream.ReadAsync(buffer) is var read and > 0)
        {
            await stream.WriteAsync(buffer.AsMemory(0, read));
            count -= read;
        }
    }

    // The target of the CONNECT. Octet by octet, for what stands behind the head belongs to the tunnel.
    private static async Task<string> ReadHeadAsync(NetworkStream stream)
    {
        var head = new List<byte>();
        var octet = new byte[1];
        while (!head.TakeLast(4).SequenceEqual("\r\n\r\n"u8.ToArray()))
        {
            await stream.ReadExactlyAsync(octet);
            head.Add(octet[0]);
        }

        return Encoding.ASCII.GetString([.. head]).Split(' ')[1];
    }
}
