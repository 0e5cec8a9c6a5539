using System.Net;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone;

/// <summary>The two ends of a connection in memory, without TLS.</summary>
internal static class Wire
{
    public static (Stream Peer, Stream Ours) Make()
    {
        var (peer, ours) = InMemoryTransportFactory.Connect(new IPEndPoint(IPAddress.Loopback, 1), new IPEndPoint(IPAddress.Loopback, 2));
        return (peer.Stream, ours.Stream);
    }
}
