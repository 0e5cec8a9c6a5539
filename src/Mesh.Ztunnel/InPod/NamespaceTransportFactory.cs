using System.Net.Sockets;
using Mesh.Hbone.Transport;

namespace Mesh.Ztunnel.InPod;

/// <summary>Sockets of a pod: they are in its network namespace.</summary>
internal sealed class NamespaceTransportFactory(NetworkNamespace ns, SocketTransportOptions options) : SocketTransportFactory(options)
{
    protected override Socket OpenSocket(AddressFamily family, SocketType type, ProtocolType protocol) => ns.OpenSocket(family, type, protocol);
}
