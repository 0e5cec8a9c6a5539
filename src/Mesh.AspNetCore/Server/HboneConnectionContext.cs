using System.Globalization;
using System.IO.Pipelines;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;

namespace Mesh.AspNetCore.Server;

/// <summary>A tunnel as a connection of Kestrel.</summary>
internal sealed class HboneConnectionContext : ConnectionContext, IHboneTunnelFeature
{
    private static long _lastId;
    private readonly HboneTunnel _tunnel;
    private readonly Action _onDisposed;
    private readonly CancellationTokenSource _closed = new();

    /// <summary>Makes a connection of a tunnel.</summary>
    /// <param name="tunnel">The tunnel, which it owns from now on.</param>
    /// <param name="onDisposed">Runs when Kestrel is done with it.</param>
    public HboneConnectionContext(HboneTunnel tunnel, Action onDisposed)
    {
        _tunnel = tunnel;
        _onDisposed = onDisposed;
        ConnectionId = string.Create(CultureInfo.InvariantCulture, $"hbone-{tunnel.ConnectionId}-{Interlocked.Increment(ref _lastId)}");
        Transport = tunnel;
        LocalEndPoint = tunnel.LocalEndPoint;
        RemoteEndPoint = tunnel.RemoteEndPoint;
        ConnectionClosed = _closed.Token;
        Features.Set<IHboneTunnelFeature>(this);
        _ = tunnel.WhenReset.ContinueWith(_ => _closed.Cancel(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
    }

    public SpiffeId PeerIdentity => _tunnel.PeerIdentity;

    public string Authority => _tunnel.Authority;

    public HboneHeaders Headers => _tunnel.Headers;

    public override string ConnectionId { get; set; }

    public override IFeatureCollection Features { get; } = new FeatureCollection();

    public override IDictionary<object, object?> Items { get; set; } = new ConnectionItems();

    public override IDuplexPipe Transport { get; set; }

    public override EndPoint? LocalEndPoint { get; set; }

    public override EndPoint? RemoteEndPoint { get; set; }

    public override CancellationToken ConnectionClosed { get; set; }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        _tunnel.Abort();
        _closed.Cancel();
    }

    public override async ValueTask DisposeAsync()
    {
        _onDisposed();
        await _tunnel.DisposeAsync();
        await _closed.CancelAsync();
        await base.DisposeAsync();
    }
}
