using System.Collections.Frozen;

namespace Mesh.Hbone.Http2.Hpack;

/// <summary>The header fields that every endpoint knows (RFC 7541, Appendix A). Indices begin at 1.</summary>
internal static class StaticTable
{
    public static readonly HeaderField[] Entries =
    [
        new(":authority", ""),
        new(":method", "GET"),
        new(":method", "POST"),
        new(":path", "/"),
        new(":path", "/index.html"),
        new(":scheme", "http"),
        new(":scheme", "https"),
        new(":status", "200"),
        new(":status", "204"),
        new(":status", "206"),
        new(":status", "304"),
        new(":status", "400"),
        new(":status", "404"),
        new(":status", "500"),
        new("accept-charset", ""),
        new("accept-encoding", "gzip, deflate"),
        new("accept-language", ""),
        new("accept-ranges", ""),
        new("accept", ""),
        new("access-control-allow-origin", ""),
        new("age", ""),
        new("allow", ""),
        new("authorization", ""),
        new("cache-control", ""),
        new("content-disposition", ""),
        new("content-encoding", ""),
        new("content-language", ""),
        new("content-length", ""),
        new("content-location", ""),
        new("content-range", ""),
        new("content-type", ""),
        new("cookie", ""),
        new("date", ""),
        new("etag", ""),
        new("expect", ""),
        new("expires", ""),
        new("from", ""),
        new("host", ""),
        new("if-match", ""),
        new("if-modified-since", ""),
        new("if-none-match", ""),
        new("if-range", ""),
        new("if-unmodified-since", ""),
        new("last-modified", ""),
        new("link", ""),
        new("location", ""),
        new("max-forwards", ""),
        new("proxy-authenticate", ""),
        new("proxy-authorization", ""),
        new("range", ""),
        new("referer", ""),
        new("refresh", ""),
        new("retry-after", ""),
        new("server", ""),
        new("set-cookie", ""),
        new("strict-transport-security", ""),
        new("transfer-encoding", ""),
        new("user-agent", ""),
        new("vary", ""),
        new("via", ""),
        new("www-authenticate", ""),
    ];

    private static readonly FrozenDictionary<HeaderField, int> ByField =
        Entries.Select((field, i) => (field, Index: i + 1)).ToFrozenDictionary(pair => pair.field, pair => pair.Index);

    private static readonly FrozenDictionary<string, int> ByName = Entries
        .Select((field, i) => (field.Name, Index: i + 1))
        .GroupBy(pair => pair.Name)
        .ToFrozenDictionary(group => group.Key, group => group.First().Index);

    /// <summary>The index of the whole field; 0 when it is not in the table.</summary>
    public static int IndexOf(in HeaderField field) => ByField.GetValueOrDefault(field);

    /// <summary>The first index with this name; 0 when it is not in the table.</summary>
    public static int IndexOfName(string name) => ByName.GetValueOrDefault(name);
}
