using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Http2.Hpack;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone.Client;

/// <summary>One established connection to a server, which carries tunnels.</summary>
internal sealed class HboneConnection(TransportConnection transport, Http2Connection http2, SpiffeId peer, DateTimeOffset peerNotAfter, WorkloadCertificate certificate, long trustVersion) : IAsyncDisposable
{
    public Http2Connection Http2 => http2;

    public SpiffeId Peer => peer;

    /// <summary>What we presented; a connection with a replaced certificate takes no new tunnels.</summary>
    public WorkloadCertificate Certificate => certificate;

    /// <summary>Until when the peer's certificate is valid.</summary>
    public DateTimeOffset PeerNotAfter => peerNotAfter;

    /// <summary>The version of the trust bundle that the peer was verified against, or an older one.</summary>
    public long TrustVersion => trustVersion;

    public IPEndPoint LocalEndPoint => transport.LocalEndPoint;

    /// <summary>Queues a CONNECT; null when the connection has no room for one.</summary>
    public Http2Stream? TryRequest(string authority, HboneHeaders? headers, int limit) => http2.TryOpenStream(
        [new HeaderField(ConnectRequest.Method, ConnectRequest.Connect), new HeaderField(ConnectRequest.Authority, authority), .. headers?.Fields ?? []], limit);

    /// <summary>Waits for the answer to a CONNECT.</summary>
    /// <param name="stream">The stream of the request; given up when the answer does not come, or is a refusal.</param>
    /// <param name="authority">The target that was named.</param>
    /// <param name="onDisposed">Runs when the tunnel is disposed.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public async Task<HboneTunnel> ResponseAsync(Http2Stream stream, string authority, Func<ValueTask>? onDisposed, CancellationToken cancellationToken)
    {
        try
        {
            var response = await stream.Response.Task.WaitAsync(cancellationToken);
            var status = int.Parse(response[0].Value);
            return status == 200
                ? new HboneTunnel(stream, authority, new HboneHeaders(response), peer, transport.LocalEndPoint, transport.RemoteEndPoint, onDisposed)
                : throw new HboneException(HboneError.Refused, $"http status: {status}") { Status = status };
        }
        catch
        {
            stream.Abort(Http2ErrorCode.Cancel);
            stream.Release();
            throw;
        }
    }

    /// <exception cref="ArgumentException">The authority is empty or contains what cannot stand in a header.</exception>
    public static void CheckAuthority(string authority)
    {
        ArgumentException.ThrowIfNullOrEmpty(authority);
        if (!HboneHeaders.IsValue(authority))
        {
            throw new ArgumentException("the authority contains a character that is not allowed: no control characters, no blanks at its ends, Latin-1 only", nameof(authority));
        }
    }

    public async ValueTask DisposeAsync()
    {
        await http2.DisposeAsync();
        await transport.DisposeAsync();
    }
}
