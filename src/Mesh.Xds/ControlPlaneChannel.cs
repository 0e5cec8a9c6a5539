using System.Net;
using System.Net.Sockets;
using Mesh.Xds.Grpc;

namespace Mesh.Xds;

/// <summary>Makes channels to control planes, with the times and checks of ztunnel §3.7.</summary>
internal static class ControlPlaneChannel
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan PingDelay = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan PingTimeout = TimeSpan.FromSeconds(10);

    // For whole meshes in one message: what is on its way must not wait for a window that is asked for in small pieces.
    private const int InitialStreamWindow = 1024 * 1024;

    /// <summary>A channel that trusts the given roots.</summary>
    /// <param name="endpoint">The server.</param>
    /// <param name="rootsPem">The roots; null for those of the operating system.</param>
    /// <param name="maxMessageSize">The longest message that is taken, in octets.</param>
    /// <param name="time">The clock of deadlines.</param>
    /// <exception cref="IOException">The roots cannot be used.</exception>
    public static IGrpcChannel Create(ControlPlaneEndpoint endpoint, string? rootsPem, int maxMessageSize, TimeProvider time)
    {
        var handler = Handler();
        handler.SslOptions = ServerRoots.ClientOptions(rootsPem, endpoint);
        handler.ConnectCallback = async (context, token) =>
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 300);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 75);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 9);
                await socket.ConnectAsync(context.DnsEndPoint, token);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        };
        return new GrpcHttpChannel(new HttpMessageInvoker(handler), endpoint.Address, time, maxMessageSize);
    }

    /// <summary>A channel through a unix socket, in plain text: who may open the socket is for the file system to say.</summary>
    public static IGrpcChannel CreateUnix(string path, int maxMessageSize, TimeProvider time) => CreatePlain(new UnixDomainSocketEndPoint(path), maxMessageSize, time);

    /// <summary>A channel in plain text, to who is on the same machine.</summary>
    public static IGrpcChannel CreatePlain(EndPoint endPoint, int maxMessageSize, TimeProvider time)
    {
        var handler = Handler();
        handler.ConnectCallback = async (_, token) =>
        {
            var isUnix = endPoint.AddressFamily is AddressFamily.Unix;
            var socket = new Socket(endPoint.AddressFamily, SocketType.Stream, isUnix ? ProtocolType.Unspecified : ProtocolType.Tcp);
            try
            {
                await socket.ConnectAsync(endPoint, token);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        };
        return new GrpcHttpChannel(new HttpMessageInvoker(handler), new Uri("http://localhost"), time, maxMessageSize);
    }

    private static SocketsHttpHandler Handler() => new()
    {
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        UseCookies = false,
        UseProxy = false,
        ActivityHeadersPropagator = null,
        ConnectTimeout = ConnectTimeout,
        PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
        KeepAlivePingDelay = PingDelay,
        KeepAlivePingTimeout = PingTimeout,
        KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
        InitialHttp2StreamWindowSize = InitialStreamWindow,
        EnableMultipleHttp2Connections = false,
    };
}
