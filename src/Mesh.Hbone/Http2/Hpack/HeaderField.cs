namespace Mesh.Hbone.Http2.Hpack;

/// <summary>A header field (RFC 7541, section 1.3). Octets above 127 are kept as Latin-1.</summary>
internal readonly record struct HeaderField(string Name, string Value)
{
    /// <summary>The size that the standard counts for a field, over its octets (RFC 7541, section 4.1).</summary>
    public const int Overhead = 32;

    public int Size => Name.Length + Value.Length + Overhead;
}
