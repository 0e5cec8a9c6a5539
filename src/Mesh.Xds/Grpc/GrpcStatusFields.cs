using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;

namespace Mesh.Xds.Grpc;

/// <summary>The status of a call as header fields, and what HTTP says in its absence.</summary>
internal static class GrpcStatusFields
{
    public const string Status = "grpc-status";
    public const string Message = "grpc-message";

    // A detail is for people; a server that writes more is not being helpful.
    private const int MaxDetail = 4096;

    /// <summary>The status among trailers, or among the headers of a response that consists of headers alone; null when there is none.</summary>
    public static GrpcException? Read(HttpHeaders fields, out bool isOk)
    {
        isOk = false;
        if (!fields.NonValidated.TryGetValues(Status, out var values))
        {
            return null;
        }

        var text = values.ToString();
        var detail = fields.NonValidated.TryGetValues(Message, out var messages) ? Decode(messages.ToString()) : "";
        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            return new GrpcException(GrpcStatusCode.Unknown, $"the server ended the call with the status '{text}', which is no number: {detail}");
        }

        isOk = number == 0;
        var status = Enum.IsDefined((GrpcStatusCode)number) ? (GrpcStatusCode)number : GrpcStatusCode.Unknown;
        return isOk ? null : new GrpcException(status, detail.Length > 0 ? detail : "the server gave no reason");
    }

    /// <summary>What a response that is not gRPC's means (http-grpc-status-mapping of gRPC).</summary>
    public static GrpcStatusCode Of(HttpStatusCode status) => status switch
    {
        HttpStatusCode.BadRequest => GrpcStatusCode.Internal,
        HttpStatusCode.Unauthorized => GrpcStatusCode.Unauthenticated,
        HttpStatusCode.Forbidden => GrpcStatusCode.PermissionDenied,
        HttpStatusCode.NotFound => GrpcStatusCode.Unimplemented,
        HttpStatusCode.TooManyRequests or HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout => GrpcStatusCode.Unavailable,
        _ => GrpcStatusCode.Unknown,
    };

    /// <summary>What the error code of an HTTP/2 stream or connection means (PROTOCOL-HTTP2 of gRPC, "Errors"; RFC 9113 section 7).</summary>
    public static GrpcStatusCode OfHttp2(long errorCode) => errorCode switch
    {
        // REFUSED_STREAM
        7 => GrpcStatusCode.Unavailable,

        // CANCEL
        8 => GrpcStatusCode.Cancelled,

        // ENHANCE_YOUR_CALM
        11 => GrpcStatusCode.ResourceExhausted,

        // INADEQUATE_SECURITY
        12 => GrpcStatusCode.PermissionDenied,
        _ => GrpcStatusCode.Internal,
    };

    /// <summary>A detail in the form of a header field: printable ASCII, the rest as octets of UTF-8 in hexadecimal after a percent sign.</summary>
    public static string Encode(string detail)
    {
        var text = new StringBuilder(detail.Length);
        foreach (var octet in Encoding.UTF8.GetBytes(detail.Length > MaxDetail ? detail[..MaxDetail] : detail))
        {
            _ = octet is >= 0x20 and <= 0x7e and not (byte)'%' ? text.Append((char)octet) : text.Append(CultureInfo.InvariantCulture, $"%{octet:X2}");
        }

        return text.ToString();
    }

    /// <summary>The reverse; what is not properly written is left as it is.</summary>
    public static string Decode(string field)
    {
        var bounded = field.Length > MaxDetail ? field[..MaxDetail] : field;
        return bounded.Contains('%') ? Uri.UnescapeDataString(bounded) : bounded;
    }
}
