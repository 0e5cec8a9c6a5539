using System.Net;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Inbound;

namespace Mesh.Ztunnel;

/// <summary>Takes tunnels to the ztunnel itself, so that clients in the mesh reach its port of metrics by mutual TLS (ztunnel §0).</summary>
internal sealed class SelfProxy : IAsyncDisposable
{
    private readonly ConnectionTracker _connections;
    private readonly InboundProxy _inbound;

    /// <exception cref="IOException">The port cannot be had.</exception>
    public SelfProxy(ProxyContext context, IPAddress address)
    {
        var listener = context.Transport.Listen(new IPEndPoint(address, context.Options.HbonePort));
        _connections = new ConnectionTracker(context.State);
        _inbound = new InboundProxy(context, _connections, listener);
    }

    /// <summary>The connections that are open now.</summary>
    public TrackedConnection[] Connections => _connections.Open();

    public async Task StopAsync(CancellationToken deadline) => await _inbound.DrainAsync(deadline).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    public async ValueTask DisposeAsync()
    {
        _connections.CloseAll();
        await _inbound.DisposeAsync();
        await _connections.WhenEmptyAsync();
        _connections.Dispose();
    }
}
