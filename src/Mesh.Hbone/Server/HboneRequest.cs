using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Server;

/// <summary>A client asks for a tunnel. Accept it or refuse it; disposing it undecided refuses it with 503.</summary>
public sealed class HboneRequest : IDisposable
{
    private static readonly HeaderField Ok = new(":status", "200");
    private readonly Http2Stream _stream;
    private int _decided;

    internal HboneRequest(Http2Stream stream, SpiffeId peer, IPEndPoint localEndPoint, IPEndPoint remoteEndPoint)
    {
        _stream = stream;
        PeerIdentity = peer;
        LocalEndPoint = localEndPoint;
        RemoteEndPoint = remoteEndPoint;
        var fields = stream.RequestHeaders ?? throw new ArgumentException("the stream has no request, or somebody has taken it already", nameof(stream));
        stream.RequestHeaders = null;
        Method = fields.Find(static field => field.Name == ConnectRequest.Method).Value;
        Authority = fields.Find(static field => field.Name == ConnectRequest.Authority).Value ?? "";
        Headers = new HboneHeaders(fields);
    }

    /// <summary>The method; anything but CONNECT cannot be accepted.</summary>
    public string Method { get; }

    /// <summary>The target that the client names; not validated, for its form is the application's matter.</summary>
    public string Authority { get; }

    /// <summary>The request's headers.</summary>
    public HboneHeaders Headers { get; }

    /// <summary>The identity that the client has proved.</summary>
    public SpiffeId PeerIdentity { get; }

    /// <summary>Our address of the connection under the tunnel.</summary>
    public IPEndPoint LocalEndPoint { get; }

    /// <summary>The client's address of the connection under the tunnel.</summary>
    public IPEndPoint RemoteEndPoint { get; }

    /// <summary>Which connection it came on; requests that share one have the same number.</summary>
    public long ConnectionId => _stream.Connection.Id;

    internal bool IsOn(Http2Connection connection) => _stream.Connection == connection;

    /// <summary>Answers 200 and opens the tunnel. The caller owns it.</summary>
    /// <exception cref="InvalidOperationException">The request has been decided already, or its method is not CONNECT.</exception>
    public HboneTunnel Accept(HboneHeaders? headers = null)
    {
        if (Method != ConnectRequest.Connect)
        {
            throw new InvalidOperationException($"a request with the method {Method} cannot be accepted, only CONNECT");
        }

        Decide();
        _stream.Connection.Respond(_stream, [Ok, .. headers?.Fields ?? []], endStream: false);
        return new HboneTunnel(_stream, Authority, Headers, PeerIdentity, LocalEndPoint, RemoteEndPoint);
    }

    /// <summary>Answers with a status that is not a success; there is no tunnel.</summary>
    /// <param name="status">400 to 599.</param>
    /// <exception cref="InvalidOperationException">The request has been decided already.</exception>
    public void Refuse(int status)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(status, 400);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(status, 599);
        Decide();
        _stream.Connection.Respond(_stream, [new HeaderField(":status", status.ToString())], endStream: true);
        _stream.Release();
    }

    /// <summary>Refuses the request when it is undecided.</summary>
    public void Dispose()
    {
        if (Volatile.Read(ref _decided) == 0)
        {
            Refuse(503);
        }
    }

    private void Decide()
    {
        if (Interlocked.Exchange(ref _decided, 1) != 0)
        {
            throw new InvalidOperationException("the request has been decided already");
        }
    }
}
