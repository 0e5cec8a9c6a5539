using System.Net;

namespace Mesh.Hbone.Transport;

/// <summary>A tunnel as the transport of another connection: double HBONE (ztunnel §2.10).</summary>
internal sealed class TunnelTransport(HboneTunnel tunnel) : TransportConnection
{
    public override Stream Stream { get; } = tunnel.AsStream();

    public override IPEndPoint LocalEndPoint => tunnel.LocalEndPoint;

    public override IPEndPoint RemoteEndPoint => tunnel.RemoteEndPoint;

    public override void ShutdownSend() => tunnel.Output.Complete();

    public override void Abort() => tunnel.Abort();

    public override ValueTask DisposeAsync() => tunnel.DisposeAsync();
}
