using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;

namespace Mesh.Hbone.Transport;

/// <summary>A connection over a socket.</summary>
/// <param name="socket">The socket.</param>
/// <param name="remote">The peer's address.</param>
/// <param name="stream">The octets of the socket, which it owns.</param>
internal sealed class SocketConnection(Socket socket, IPEndPoint remote, Stream stream) : TransportConnection
{
    private const int SolIp = 0;
    private const int SolIpv6 = 41;
    private const int OriginalDestinationOption = 80;

    public override Stream Stream => stream;

    public override IPEndPoint LocalEndPoint { get; } = NetworkAddress.Canonical((IPEndPoint)socket.LocalEndPoint!);

    public override IPEndPoint RemoteEndPoint { get; } = NetworkAddress.Canonical(remote);

    public override IPEndPoint OriginalDestination => ReadOriginalDestination(SolIp, 16) ?? ReadOriginalDestination(SolIpv6, 28) ?? LocalEndPoint;

    public override void ShutdownSend()
    {
        try
        {
            socket.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The peer was faster.
        }
    }

    public override void Abort()
    {
        if (stream is PolledStream polled)
        {
            polled.Abort();
            return;
        }

        socket.Close(timeout: 0);
        stream.Dispose();
    }

    public override ValueTask DisposeAsync() => stream.DisposeAsync();

    // Linux, after REDIRECT: a sockaddr_in or sockaddr_in6. Without a redirection there is an error, or our own address.
    private IPEndPoint? ReadOriginalDestination(int level, int length)
    {
        if (!OperatingSystem.IsLinux() || (level == SolIpv6 && socket.AddressFamily is AddressFamily.InterNetwork))
        {
            return null;
        }

        Span<byte> address = stackalloc byte[length];
        try
        {
            if (socket.GetRawSocketOption(level, OriginalDestinationOption, address) < length)
            {
                return null;
            }
        }
        catch (SocketException)
        {
            return null;
        }

        var port = BinaryPrimitives.ReadUInt16BigEndian(address[2..]);
        return NetworkAddress.Canonical(new IPEndPoint(new IPAddress(level == SolIp ? address.Slice(4, 4) : address.Slice(8, 16)), port));
    }
}
