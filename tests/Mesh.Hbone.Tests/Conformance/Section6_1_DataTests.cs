using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.1: DATA.</summary>
public sealed class Section6_1_DataTests
{
    private const string PaddingTooLong = "Padding as long as the payload or longer MUST be treated as a connection error of type PROTOCOL_ERROR.";

    private static readonly ConformanceTable Cases =
    [
        new("6.1", "DATA on stream 0", "DATA on stream 0 MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Data, None, 0, 1), ConnectionError(ProtocolError)),
        new("6.1", "empty DATA on stream 0", "DATA on stream 0 MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Data, None, 0), ConnectionError(ProtocolError)),
        new("6.1", "DATA with as much padding as payload", PaddingTooLong, Tunnel, Frame.Of(FrameType.Data, Padded, 1, 2, 0), ConnectionError(ProtocolError)),
        new("6.1", "DATA with padding and nothing else but its length", PaddingTooLong, Tunnel, Frame.Of(FrameType.Data, Padded, 1, 1), ConnectionError(ProtocolError)),
        new("6.1", "DATA with more padding than payload", PaddingTooLong, Tunnel, Frame.Of(FrameType.Data, Padded, 1, 255, 1, 2, 3), ConnectionError(ProtocolError)),
        Heard("DATA", "DATA carries octets of the stream.", Frame.Of(FrameType.Data, EndStream, 1, "abc"u8), "abc"),
        Heard("DATA in several frames", "DATA carries octets of the stream, in the order of sending.", [.. Frame.Of(FrameType.Data, None, 1, "ab"u8), .. Frame.Of(FrameType.Data, None, 1), .. Frame.Of(FrameType.Data, EndStream, 1, "c"u8)], "abc"),
        Heard("empty DATA with END_STREAM", "END_STREAM on a frame of no octets ends the stream.", Frame.Of(FrameType.Data, EndStream, 1), ""),
        Heard("padded DATA", "Padding is no part of the octets.", Frame.Of(FrameType.Data, EndStream | Padded, 1, [3, .. "abc"u8, 0, 0, 0]), "abc"),
        Heard("DATA padded with nothing", "A frame can be one octet longer by a pad length of zero.", Frame.Of(FrameType.Data, EndStream | Padded, 1, [0, .. "abc"u8]), "abc"),
        Heard("DATA of padding only", "All of the payload behind the pad length may be padding.", Frame.Of(FrameType.Data, EndStream | Padded, 1, [255, .. new byte[255]]), ""),
        Heard("DATA with padding that is not zero", "A receiver is not obliged to verify padding; we do not.", Frame.Of(FrameType.Data, EndStream | Padded, 1, [2, .. "abc"u8, 7, 7]), "abc"),
        new("6.1", "padding over the window of the stream", "The entire payload counts, the pad length and the padding too.", Tunnel, [.. Frame.Of(FrameType.Data, None, 1, new byte[65_535 - 2]), .. Frame.Of(FrameType.Data, Padded, 1, 2, 0, 0)], ConnectionError(FlowControlError)),
        new("6.1", "padding, a window full of it", "Padding that is received is credited, for no application reads it.", Tunnel, [.. Enumerable.Repeat(Frame.Of(FrameType.Data, Padded, 1, [255, .. new byte[255]]), 255).SelectMany(frame => frame)], Story(async stage =>
        {
            Assert.InRange((await stage.Peer.ExpectAsync(FrameType.WindowUpdate, 1)).Number, 1, 65_535);
            await stage.UseAsync(stage.Stream!);
        })),
        new("6.1", "DATA before it has heard our answer", "DATA can be sent on an open stream; a client that does not wait for the answer is heard when the tunnel is there.", Requested, Frame.Of(FrameType.Data, EndStream, 1, "early"u8), Story(async stage =>
        {
            await stage.AcceptAsync(stage.Stream!);
            Assert.Equal("early", await stage.Stream!.Input.HearAsync().InTime());
        })) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static ConformanceCase Heard(string name, string rule, byte[] frames, string text) => new("6.1", name, rule, Tunnel, frames, Story(async stage =>
    {
        Assert.Equal(text, await stage.Stream!.Input.HearAsync().InTime());
        await stage.LivesAsync();
    }));
}
