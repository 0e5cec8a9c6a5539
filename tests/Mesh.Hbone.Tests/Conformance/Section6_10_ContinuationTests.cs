using Mesh.Hbone.Http2;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.10: CONTINUATION.</summary>
public sealed class Section6_10_ContinuationTests
{
    private const string BehindABlockOnly = "CONTINUATION MUST be preceded by HEADERS, PUSH_PROMISE or CONTINUATION without END_HEADERS; else it is a connection error of type PROTOCOL_ERROR.";
    private const string Endless = "A receiver bounds what it holds of a field block (section 10.5.1); we end the connection with ENHANCE_YOUR_CALM.";
    private static readonly byte[] Request = Frame.Block((":method", "CONNECT"), (":authority", "10.0.0.1:80"));

    private static readonly ConformanceTable Cases =
    [
        new("6.10", "CONTINUATION on stream 0", "CONTINUATION on stream 0 MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Continuation, EndHeaders, 0), ConnectionError(ProtocolError)),
        new("6.10", "CONTINUATION and nothing before it", BehindABlockOnly, Tunnel, Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x88), ConnectionError(ProtocolError)),
        new("6.10", "CONTINUATION behind HEADERS with END_HEADERS", BehindABlockOnly, Prefaces, [.. Frame.Connect(1), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x88)], ConnectionError(ProtocolError, lastStream: 1)) { Only = Ours.Server },
        new("6.10", "CONTINUATION behind an answer with END_HEADERS", BehindABlockOnly, Requested, [.. Frame.Headers(1, EndHeaders, (":status", "200")), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x88)], ConnectionError(ProtocolError)) { Only = Ours.Client },
        new("6.10", "CONTINUATION behind CONTINUATION with END_HEADERS", BehindABlockOnly, Prefaces, [.. InPieces(3), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x88)], ConnectionError(ProtocolError, lastStream: 1)) { Only = Ours.Server },
        new("6.10", "CONTINUATION behind DATA", BehindABlockOnly, Tunnel, [.. Frame.Of(FrameType.Data, None, 1, 1), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x88)], ConnectionError(ProtocolError)),
        Whole("a block in HEADERS and CONTINUATION", InPieces(3)),
        Whole("a block in HEADERS and three CONTINUATION", InPieces(1, 5, 9)),
        Whole("HEADERS without a fragment, and CONTINUATION", InPieces(0)),
        Whole("a block, and an empty CONTINUATION that ends it", InPieces(Request.Length)),
        Whole("padded HEADERS and CONTINUATION", [.. Frame.Of(FrameType.Headers, Padded, 1, [2, .. Request.AsSpan(0, 3), 0, 0]), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, Request.AsSpan(3))]),
        new("6.10", "CONTINUATION without end", Endless, Prefaces, [.. Frame.Of(FrameType.Headers, None, 1, Request), .. Enumerable.Repeat(Frame.Of(FrameType.Continuation, None, 1, Convert.FromHexString("0001610162")), 2000).SelectMany(frame => frame)], ConnectionError(EnhanceYourCalm)) { Only = Ours.Server },
        new("6.10", "an empty CONTINUATION that ends nothing", Endless, Tunnel, [.. Frame.Of(FrameType.Headers, EndStream, 1, 0x00), .. Frame.Of(FrameType.Continuation, None, 1)], ConnectionError(EnhanceYourCalm)),
        new("6.10", "a block far over the announced list", Endless, Prefaces, Frame.Of(FrameType.Headers, EndHeaders, 1, new byte[9000]), ConnectionError(EnhanceYourCalm)) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static ConformanceCase Whole(string name, byte[] frames) => new(
        "6.10", name, "Any number of CONTINUATION frames can follow; together with HEADERS they are one field block.", Prefaces, frames,
        HandedOut(1, (":method", "CONNECT"), (":authority", "10.0.0.1:80")))
    { Only = Ours.Server };

    // The request, cut at these places: HEADERS, then CONTINUATION.
    private static byte[] InPieces(params int[] cuts)
    {
        var frames = new List<byte>(Frame.Of(FrameType.Headers, None, 1, Request.AsSpan(0, cuts[0])));
        for (var i = 0; i < cuts.Length; i++)
        {
            var last = i == cuts.Length - 1;
            var end = last ? Request.Length : cuts[i + 1];
            frames.AddRange(Frame.Of(FrameType.Continuation, last ? EndHeaders : None, 1, Request.AsSpan(cuts[i]..end)));
        }

        return [.. frames];
    }
}
