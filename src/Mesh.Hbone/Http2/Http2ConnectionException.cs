namespace Mesh.Hbone.Http2;

/// <summary>The peer broke a rule that costs it the connection (RFC 9113, section 5.4.1). Thrown once per connection at most.</summary>
internal sealed class Http2ConnectionException(Http2ErrorCode code, string message) : Exception(message)
{
    public Http2ErrorCode Code { get; } = code;
}
