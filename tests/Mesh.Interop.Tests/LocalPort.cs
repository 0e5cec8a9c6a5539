using System.Net;
using System.Net.Sockets;

namespace Mesh.Interop;

/// <summary>A port for a program that cannot choose one by itself.</summary>
internal static class LocalPort
{
    /// <summary>A port of the loopback address that nobody listens on. Another program could take it meanwhile; the kernel picks among tens of thousands.</summary>
    public static int Free()
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
