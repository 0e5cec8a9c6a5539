using System.Globalization;
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
        string? scheme = null;
        string? path = null;
        var regularSeen = false;
        foreach (var (name, value) in fields)
        {
            if (!name.StartsWith(':'))
            {
                regularSeen = true;
                continue;
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
                case ":scheme":
                    duplicate = scheme is not null;
                    scheme = value;
                    break;
                case ":path":
                    duplicate = path is not null;
                    path = value;
                    break;
                default:
                    // :protocol too: extended CONNECT is only for those we have offered it to, and we have not (RFC 8441).
                    return Http2ErrorCode.ProtocolError;
            }

            if (duplicate || regularSeen)
            {
                return Http2ErrorCode.ProtocolError;
            }
        }

        var wellFormed = method is Connect
            ? authority is { Length: > 0 } && scheme is null && path is null
            : method is { Length: > 0 } && scheme is { Length: > 0 } && path is { Length: > 0 };
        return wellFormed && AreFieldsValid(fields) ? null : Http2ErrorCode.ProtocolError;
    }

    /// <summary>The status of a response; null when it is malformed (RFC 9113, section 8.3.2).</summary>
    public static int? Status(IReadOnlyList<HeaderField> fields) =>
        fields.Count > 0 && fields[0] is { Name: ":status", Value: [>= '1' and <= '9', >= '0' and <= '9', >= '0' and <= '9'] status }
        && !HasPseudoHeaders(fields.Skip(1)) && AreFieldsValid(fields)
            ? int.Parse(status, CultureInfo.InvariantCulture)
            : null;

    /// <summary>Whether any field is a pseudo-header; in trailers none may be (RFC 9113, section 8.1).</summary>
    public static bool HasPseudoHeaders(IEnumerable<HeaderField> fields) => fields.Any(field => field.Name.StartsWith(':'));

    /// <summary>Whether names and values may stand in a message at all (RFC 9113, sections 8.2.1 and 8.2.2).</summary>
    public static bool AreFieldsValid(IReadOnlyList<HeaderField> fields)
    {
        foreach (var (name, value) in fields)
        {
            if (!HboneHeaders.IsValue(value) || (!name.StartsWith(':') && (!HboneHeaders.IsName(name) || IsConnectionSpecific(name, value))))
            {
                return false;
            }
        }

        return true;
    }

    // Section 8.2.2.
    private static bool IsConnectionSpecific(string name, string value) =>
        name is "connection" or "proxy-connection" or "keep-alive" or "transfer-encoding" or "upgrade" || (name is "te" && value is not "trailers");
}
