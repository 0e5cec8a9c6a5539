using Mesh.Hbone.Http2;

namespace Mesh.Hbone;

/// <summary>What went wrong with a tunnel. Numbers never change.</summary>
public enum HboneError
{
    /// <summary>TCP could not connect.</summary>
    ConnectFailed = 1,

    /// <summary>TCP did not connect in time. A NetworkPolicy that does not allow the HBONE port does this.</summary>
    ConnectTimeout = 2,

    /// <summary>The TLS handshake failed on the peer's side or on the wire.</summary>
    TlsFailed = 3,

    /// <summary>We rejected the peer's certificate; the message says by which rule.</summary>
    PeerRejected = 4,

    /// <summary>The peer did not begin HTTP/2 properly, or not in time.</summary>
    HandshakeFailed = 5,

    /// <summary>The peer answered with a status other than 200.</summary>
    Refused = 6,

    /// <summary>The peer reset the tunnel.</summary>
    Reset = 7,

    /// <summary>The peer did not process the request at all; it may be tried again on another connection.</summary>
    Unprocessed = 8,

    /// <summary>The connection under the tunnel was lost.</summary>
    ConnectionLost = 9,

    /// <summary>The peer broke the protocol.</summary>
    ProtocolError = 10,

    /// <summary>No certificate could be had for our own identity.</summary>
    IdentityUnavailable = 11,

    /// <summary>This side gave the tunnel up.</summary>
    Aborted = 12,

    /// <summary>The mesh does not know the destination, or cannot carry anything there.</summary>
    NotInMesh = 13,

    /// <summary>The peer's certificate is revoked.</summary>
    PeerRevoked = 14,
}

/// <summary>A tunnel could not be opened, or did not end well.</summary>
public sealed class HboneException(HboneError error, string message, Exception? innerException = null) : IOException(message, innerException)
{
    /// <summary>What went wrong.</summary>
    public HboneError Error { get; } = error;

    /// <summary>The HTTP status of a refusal; null for other errors.</summary>
    public int? Status { get; init; }

    /// <summary>The code that the peer gave; null when it gave none.</summary>
    public Http2ErrorCode? Code { get; init; }
}
