namespace Mesh.Hbone.Http2;

/// <summary>Why a stream was reset or a connection ended (RFC 9113, section 7).</summary>
public enum Http2ErrorCode
{
    /// <summary>No error.</summary>
    NoError = 0x0,

    /// <summary>The peer broke the protocol.</summary>
    ProtocolError = 0x1,

    /// <summary>The fault is on the sender's own side.</summary>
    InternalError = 0x2,

    /// <summary>The peer sent more than it had credit for.</summary>
    FlowControlError = 0x3,

    /// <summary>Settings were not acknowledged in time.</summary>
    SettingsTimeout = 0x4,

    /// <summary>A frame for a stream that is closed.</summary>
    StreamClosed = 0x5,

    /// <summary>A frame has the wrong size.</summary>
    FrameSizeError = 0x6,

    /// <summary>The stream was not processed at all; it may be tried again.</summary>
    RefusedStream = 0x7,

    /// <summary>The stream is no longer needed.</summary>
    Cancel = 0x8,

    /// <summary>A header block could not be decoded.</summary>
    CompressionError = 0x9,

    /// <summary>The TCP connection behind a CONNECT was reset or closed abnormally.</summary>
    ConnectError = 0xa,

    /// <summary>The peer asks for too much.</summary>
    EnhanceYourCalm = 0xb,

    /// <summary>The transport is not safe enough.</summary>
    InadequateSecurity = 0xc,

    /// <summary>HTTP/1.1 is required.</summary>
    Http11Required = 0xd,
}
