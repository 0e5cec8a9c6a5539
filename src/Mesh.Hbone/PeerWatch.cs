using System.Collections.Concurrent;
using System.Collections.Immutable;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;

namespace Mesh.Hbone;

/// <summary>Closes connections whose peer's certificate is revoked while they are open (ztunnel §3.5).</summary>
internal sealed class PeerWatch
{
    private readonly ConcurrentDictionary<Http2Connection, (SpiffeId Peer, ImmutableArray<CertificateLink> Chain)> _watched = new();
    private readonly TrustBundle _trust;

    /// <summary>Lives as long as <paramref name="trust"/>, which knows it weakly.</summary>
    public PeerWatch(TrustBundle trust)
    {
        _trust = trust;
        var self = new WeakReference<PeerWatch>(this);
        EventHandler look = null!;
        look = (_, _) =>
        {
            if (self.TryGetTarget(out var watch))
            {
                watch.Look();
            }
            else
            {
                trust.Changed -= look;
            }
        };
        trust.Changed += look;
    }

    /// <summary>Watches a connection until it is closed.</summary>
    public void Add(Http2Connection connection, SpiffeId peer, ImmutableArray<CertificateLink> chain)
    {
        _watched[connection] = (peer, chain);
        _ = connection.Closed.ContinueWith(
            static (_, state) =>
            {
                var (watch, closed) = ((PeerWatch, Http2Connection))state!;
                watch._watched.TryRemove(closed, out var _);
            },
            (this, connection),
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);

        // A list may have come between the handshake and now.
        Check(connection, peer, chain);
    }

    private void Look()
    {
        foreach (var (connection, (peer, chain)) in _watched)
        {
            Check(connection, peer, chain);
        }
    }

    private void Check(Http2Connection connection, SpiffeId peer, ImmutableArray<CertificateLink> chain)
    {
        if (_trust.RevocationLists.Find(chain) is { } revoked)
        {
            connection.Close(
                Http2ErrorCode.NoError,
                new HboneException(HboneError.PeerRevoked, $"connection closed: peer certificate revoked by CRL ({peer}, serial number {revoked.SerialText})"));
        }
    }
}
