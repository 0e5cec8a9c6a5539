using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>The pseudo-header fields of requests (RFC 9113, sections 8.3 and 8.5).</summary>
internal static class ConnectRequest
{
    public const string Method = ":method";
    public const string Authority = ":authority";
    public const string Connect = "CONNECT";

    /// <summary>The error that a malformed request deserves; null when it is well-formed, whatever its method.</summary>
    public static Http2ErrorCode? Fault(IReadOnlyList<HeaderField> fields)
    {
        string? method = null;
        string? authority = null;
        var schemeOrPath = 0;
        var regularSeen = false;
        foreach (var (name, value) in fields)
        {
            if (!name.StartsWith(':'))
            {
                regularSeen = true;
                if (!HboneHeaders.IsName(name) || !HboneHeaders.IsValue(value) || IsConnectionSpecific(name, value))
                {
                    return Http2ErrorCode.ProtocolError;
                }

                continue;
            }

            if (!HboneHeaders.IsValue(value))
            {
                return Http2ErrorCode.ProtocolError;
            }

            var duplicate = false;
            switch (name)
            {
                case Method:
                    duplicate = method is not null;
                    method = value;
                    break;
                case Authority:
                    duplicate = authority is not null;
                    authority = value;
                    break;
                case ":scheme" or ":path":
                    schemeOrPath++;
                    break;
                default:
                    // :protocol too: extended CONNECT is only for those we have offered it to, and we have not (RFC 8441).
                    return Http2ErrorCode.ProtocolError;
            }

            if (duplicate || regularSeen || schemeOrPath > 2)
            {
                return Http2ErrorCode.ProtocolError;
            }
        }

        var wellFormed = method is Connect ? authority is { Length: > 0 } && schemeOrPath == 0 : method is not null && schemeOrPath == 2;
        return wellFormed ? null : Http2ErrorCode.ProtocolError;
    }

    // Section 8.2.2.
    private static bool IsConnectionSpecific(string name, string value) =>
        name is "connection" or "proxy-connection" or "keep-alive" or "transfer-encoding" or "upgrade" || (name is "te" && value is not "trailers");
}
