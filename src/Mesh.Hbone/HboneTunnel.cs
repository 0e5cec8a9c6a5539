using System.IO.Pipelines;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone;

/// <summary>One tunnel: the octets of one TCP connection, both ways, inside an HBONE connection (ztunnel §2).</summary>
/// <remarks>
/// Each direction ends by itself: completing <see cref="Output"/> tells the peer that nothing follows, and <see cref="Input"/> completes when the peer
/// has said so. Disposing a tunnel is like closing a socket: what was written is still sent, what was not read is lost.
/// </remarks>
public sealed class HboneTunnel : IDuplexPipe, IAsyncDisposable
{
    private readonly Http2Stream _stream;
    private readonly Func<ValueTask>? _onDisposed;
    private int _disposed;

    internal HboneTunnel(
        Http2Stream stream, string authority, HboneHeaders headers, SpiffeId peer, IPEndPoint localEndPoint, IPEndPoint remoteEndPoint, Func<ValueTask>? onDisposed = null)
    {
        _stream = stream;
        _onDisposed = onDisposed;
        Authority = authority;
        Headers = headers;
        PeerIdentity = peer;
        LocalEndPoint = localEndPoint;
        RemoteEndPoint = remoteEndPoint;
    }

    /// <summary>What comes from the peer. Fails with <see cref="HboneException"/> when the tunnel is lost.</summary>
    public PipeReader Input => _stream.Input;

    /// <summary>What goes to the peer. A flush that reports completion means that the peer takes no more.</summary>
    public PipeWriter Output => _stream.Output;

    /// <summary>The target that the client named: <c>address:port</c> or <c>host:port</c>.</summary>
    public string Authority { get; }

    /// <summary>On a client the headers of the response, on a server those of the request.</summary>
    public HboneHeaders Headers { get; }

    /// <summary>The identity that the peer has proved.</summary>
    public SpiffeId PeerIdentity { get; }

    /// <summary>Our address of the connection under the tunnel.</summary>
    public IPEndPoint LocalEndPoint { get; }

    /// <summary>The peer's address of the connection under the tunnel.</summary>
    public IPEndPoint RemoteEndPoint { get; }

    /// <summary>Which connection it is on; tunnels that share one have the same number.</summary>
    public long ConnectionId => _stream.Connection.Id;

    /// <summary>Completes when the peer has reset the tunnel, or its connection was lost: what is written from then on does not arrive.</summary>
    public Task WhenReset => _stream.WhenReset;

    /// <summary>Why the connection under the tunnel was lost; null while it is not.</summary>
    internal HboneException? ConnectionFailure => _stream.Connection.Failure;

    /// <summary>What polls the socket of the connection; null when nothing of ours does.</summary>
    internal EventLoop? Loop => _stream.Connection.Loop;

    /// <summary>The tunnel as a stream. Disposing the stream disposes the tunnel.</summary>
    public Stream AsStream() => new DuplexStream(Input, Output, DisposeAsync);

    /// <summary>Gives the tunnel up at once: RST_STREAM with CANCEL. Reads on this side fail.</summary>
    public void Abort() => _stream.Abort(Http2ErrorCode.Cancel);

    /// <summary>Gives the tunnel up because the connection that it was to carry was reset or lost (RFC 9113, section 8.5). The other end learns it as a reset.</summary>
    internal void AbortAsReset() => _stream.Abort(Http2ErrorCode.ConnectError);

    /// <inheritdoc cref="Http2Stream.CancelOnReset"/>
    internal void CancelOnReset(CancellationTokenSource? source) => _stream.CancelOnReset(source);

    /// <summary>Ends the tunnel: sends what was written and its end, and takes nothing more.</summary>
    public ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return default;
        }

        _stream.Release();
        return _onDisposed?.Invoke() ?? default;
    }
}
