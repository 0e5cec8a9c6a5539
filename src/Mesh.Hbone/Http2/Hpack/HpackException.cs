namespace Mesh.Hbone.Http2.Hpack;

/// <summary>A header block cannot be decoded. The connection is lost with it, with COMPRESSION_ERROR (RFC 9113, section 4.3).</summary>
internal sealed class HpackException(string message) : Exception(message);
