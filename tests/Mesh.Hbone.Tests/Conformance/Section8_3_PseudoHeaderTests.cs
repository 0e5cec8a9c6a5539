using static Mesh.Hbone.Conformance.Messages;
using static Mesh.Hbone.Conformance.Reaction;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 8.3: pseudo-headers.</summary>
public sealed class Section8_3_PseudoHeaderTests
{
    private const string Undefined = "A message with undefined or invalid pseudo-headers MUST be treated as malformed.";
    private const string WrongDirection = "Pseudo-headers of requests MUST NOT appear in responses, those of responses not in requests.";
    private const string Order = "A message with a pseudo-header behind a regular field MUST be treated as malformed.";
    private const string Repeated = "A message with a repeated pseudo-header MUST be treated as malformed.";
    private const string Mandatory = "A request MUST include exactly one valid value for :method, :scheme and :path, unless it is a CONNECT; else it is malformed.";
    private const string Status = "A response without :status, or with one that is not of three digits (RFC 9110, section 15), is malformed.";
    private static readonly (string, string) Method = (":method", "CONNECT");
    private static readonly (string, string) Authority = (":authority", "a:1");
    private static readonly (string, string) Get = (":method", "GET");
    private static readonly (string, string) Scheme = (":scheme", "https");
    private static readonly (string, string) Path = (":path", "/");

    private static readonly ConformanceTable Cases =
    [
        .. Malformed("8.3", "a pseudo-header that is not known", Undefined, (":foo", "b")),
        .. Malformed("8.3", "a pseudo-header without a name", Undefined, (":", "b")),
        .. Malformed("8.3", "a pseudo-header in upper case", Undefined, (":Method", "CONNECT")),
        MalformedRequest("8.3", ":status in a request", WrongDirection, Method, Authority, (":status", "200")),
        MalformedResponse("8.3", ":method in a response", WrongDirection, (":status", "200"), Method),
        MalformedResponse("8.3", ":path in a response", WrongDirection, (":status", "200"), Path),
        MalformedResponse("8.3", ":authority in a response", WrongDirection, (":status", "200"), Authority),
        MalformedResponse("8.3", ":scheme in a response", WrongDirection, (":status", "200"), Scheme),
        MalformedRequest("8.3", ":authority behind a regular field", Order, Method, ("a", "b"), Authority),
        MalformedRequest("8.3", ":method behind a regular field", Order, ("a", "b"), Method, Authority),
        MalformedResponse("8.3", ":status behind a regular field", Order, ("a", "b"), (":status", "200")),
        MalformedRequest("8.3", ":method twice", Repeated, Method, Method, Authority),
        MalformedRequest("8.3", ":method with two values", Repeated, Method, Get, Authority),
        MalformedRequest("8.3", ":authority twice", Repeated, Method, Authority, Authority),
        MalformedRequest("8.3", ":path twice", Repeated, Get, Scheme, Path, Path),
        MalformedRequest("8.3", ":scheme twice", Repeated, Get, Scheme, Scheme, Path),
        MalformedRequest("8.3", ":scheme twice, and no :path", Repeated, Get, Scheme, Scheme),
        MalformedRequest("8.3", ":path twice, and no :scheme", Repeated, Get, Path, Path),
        MalformedResponse("8.3", ":status twice", Repeated, (":status", "200"), (":status", "200")),
        MalformedResponse("8.3", ":status with two values", Repeated, (":status", "503"), (":status", "200")),
        MalformedRequest("8.3.1", "a request without a field", Mandatory),
        MalformedRequest("8.3.1", "a request without :method", Mandatory, Authority, Scheme, Path),
        MalformedRequest("8.3.1", "a request without :scheme", Mandatory, Get, Authority, Path),
        MalformedRequest("8.3.1", "a request without :path", Mandatory, Get, Authority, Scheme),
        MalformedRequest("8.3.1", "a request with an empty :method", Mandatory, (":method", ""), Authority, Scheme, Path),
        MalformedRequest("8.3.1", "a request with an empty :path", ":path MUST NOT be empty for http and https; else the request is malformed.", Get, Authority, Scheme, (":path", "")),
        MalformedRequest("8.3.1", "a method in lower case", "Methods are case-sensitive: connect is not CONNECT, and lacks :scheme and :path.", (":method", "connect"), Authority),
        new("8.3.1", "a GET", "A request that is not a CONNECT is well-formed; it is handed out, to be refused with a status.", Given.Prefaces, Http2.Frame.Headers(1, Http2.FrameFlags.EndHeaders | Http2.FrameFlags.EndStream, Get, Scheme, Authority, Path), HandedOut(1, Get, Scheme, Authority, Path)) { Only = Ours.Server },
        new("8.3.1", "a GET without :authority", ":authority may be left out where there is none.", Given.Prefaces, Http2.Frame.Headers(1, Http2.FrameFlags.EndHeaders | Http2.FrameFlags.EndStream, Get, Scheme, Path), HandedOut(1, Get, Scheme, Path)) { Only = Ours.Server },
        new("8.3.1", "OPTIONS *", "The path of OPTIONS can be *.", Given.Prefaces, Http2.Frame.Headers(1, Http2.FrameFlags.EndHeaders | Http2.FrameFlags.EndStream, (":method", "OPTIONS"), Scheme, (":path", "*")), HandedOut(1, (":method", "OPTIONS"), Scheme, (":path", "*"))) { Only = Ours.Server },
        MalformedResponse("8.3.2", "a response without a field", Status),
        MalformedResponse("8.3.2", "a response without :status", Status, ("a", "b")),
        MalformedResponse("8.3.2", "an empty :status", Status, (":status", "")),
        MalformedResponse("8.3.2", ":status of two digits", Status, (":status", "20")),
        MalformedResponse("8.3.2", ":status of four digits", Status, (":status", "2000")),
        MalformedResponse("8.3.2", ":status of letters", Status, (":status", "abc")),
        MalformedResponse("8.3.2", ":status with a sign", Status, (":status", "+20")),
        MalformedResponse("8.3.2", ":status below zero", Status, (":status", "-20")),
        MalformedResponse("8.3.2", ":status with a space", Status, (":status", " 20")),
        MalformedResponse("8.3.2", ":status with a phrase", Status, (":status", "200 OK")),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
