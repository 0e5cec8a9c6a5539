using Mesh.Hbone.Http2;

namespace Mesh.Hbone.Conformance;

/// <summary>Cases of a message that is a good one but for what the case adds to it: a request to our server, an answer to our client.</summary>
internal static class Messages
{
    private static readonly (string Name, string Value)[] Request = [(":method", "CONNECT"), (":authority", "10.0.0.1:80")];
    private static readonly (string Name, string Value)[] Response = [(":status", "200")];

    /// <summary>A malformed message is a stream error of type PROTOCOL_ERROR (RFC 9113, section 8.1.1).</summary>
    public static IEnumerable<ConformanceCase> Malformed(string section, string name, string rule, params (string Name, string Value)[] added) =>
    [
        MalformedRequest(section, name, rule, [.. Request, .. added]),
        MalformedResponse(section, name, rule, [.. Response, .. added]),
    ];

    public static IEnumerable<ConformanceCase> WellFormed(string section, string name, string rule, params (string Name, string Value)[] added) =>
    [
        new(section, name, rule, Given.Prefaces, Frame.Headers(1, FrameFlags.EndHeaders, [.. Request, .. added]), Reaction.HandedOut(1, [.. Request, .. added])) { Only = Ours.Server },
        new(section, name, rule, Given.Requested, Frame.Headers(1, FrameFlags.EndHeaders, [.. Response, .. added]), Reaction.HandedOut(1, [.. Response, .. added])) { Only = Ours.Client },
    ];

    public static ConformanceCase MalformedRequest(string section, string name, string rule, params (string Name, string Value)[] fields) =>
        new(section, name, rule, Given.Prefaces, Frame.Headers(1, FrameFlags.EndHeaders, fields), Reaction.StreamError(1, Http2ErrorCode.ProtocolError)) { Only = Ours.Server };

    public static ConformanceCase MalformedResponse(string section, string name, string rule, params (string Name, string Value)[] fields) =>
        new(section, name, rule, Given.Requested, Frame.Headers(1, FrameFlags.EndHeaders, fields), Reaction.StreamError(1, Http2ErrorCode.ProtocolError)) { Only = Ours.Client };
}
