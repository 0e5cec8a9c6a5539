using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, sections 4.1 and 5.5: the frame header; what is unknown is ignored.</summary>
public sealed class Section4_1_FrameFormatTests
{
    private const FrameFlags All = (FrameFlags)0xFF;
    private const FrameType Unknown = (FrameType)0xEE;
    private const int Reserved = int.MinValue;
    private const string UnknownTypes = "Implementations MUST ignore and discard frames of unknown types.";
    private const string UnusedFlags = "Unused flags are those that have no defined semantics for a type of frame; they MUST be ignored on receipt.";
    private const string TheReservedBit = "The reserved bit before the stream identifier MUST be ignored when receiving.";

    private static readonly ConformanceTable Cases =
    [
        new("4.1", "a frame of unknown type for the connection", UnknownTypes, Tunnel, Frame.Of(Unknown, None, 0, 1, 2, 3), Ignored),
        new("4.1", "a frame of unknown type without a payload", UnknownTypes, Tunnel, Frame.Of(Unknown, None, 0), Ignored),
        new("4.1", "a frame of unknown type and 2^14 octets", UnknownTypes, Tunnel, Frame.Of(Unknown, None, 0, new byte[16_384]), Ignored),
        new("4.1", "a frame of unknown type with every flag", UnknownTypes, Tunnel, Frame.Of(Unknown, All, 1, new byte[300]), Ignored),
        new("4.1", "a frame of unknown type on an open stream", UnknownTypes, Tunnel, Frame.Of(Unknown, None, 1, 1), Ignored),
        new("4.1", "a frame of unknown type on an idle stream", UnknownTypes, Tunnel, Frame.Of(Unknown, None, 77, 1), Ignored),
        new("4.1", "a frame of unknown type on a stream that only a server could open", UnknownTypes, Tunnel, Frame.Of(Unknown, None, 4, 1), Ignored),
        new("4.1", "a frame of unknown type on a stream that the peer has ended", "Receipt of frames of unknown semantics cannot be treated as an error in any state (section 5.1).", PeerEnded, Frame.Of(Unknown, None, 1, 1), Ignored),
        new("4.1", "a frame of unknown type on a stream that both have ended", "Receipt of frames of unknown semantics cannot be treated as an error in any state (section 5.1).", BothEnded, Frame.Of(Unknown, None, 1, 1), Ignored),
        new("4.1", "ALTSVC and ORIGIN", "Frames of extensions that we do not know are frames of unknown type.", Tunnel, [.. Frame.Of((FrameType)0xA, None, 0, 0, 1, 97), .. Frame.Of((FrameType)0xC, None, 0)], Ignored),
        new("4.1", "PRIORITY_UPDATE", "Frames of extensions that we do not know are frames of unknown type.", Tunnel, Frame.Of((FrameType)0x10, None, 0, 0, 0, 0, 1), Ignored),
        new("4.1", "SETTINGS with unused flags", UnusedFlags, Tunnel, Frame.Of(FrameType.Settings, All & ~Ack, 0), Answered(Frame.Of(FrameType.Settings, Ack, 0))),
        new("4.1", "an acknowledgement of SETTINGS with unused flags", UnusedFlags, Tunnel, Frame.Of(FrameType.Settings, All, 0), Ignored),
        new("4.1", "PING with unused flags", "Unused flags MUST be ignored on receipt and left unset when sending.", Tunnel, Frame.Of(FrameType.Ping, All & ~Ack, 0, 1, 2, 3, 4, 5, 6, 7, 8), Answered(Frame.Of(FrameType.Ping, Ack, 0, 1, 2, 3, 4, 5, 6, 7, 8))),
        new("4.1", "WINDOW_UPDATE with every flag", UnusedFlags, Tunnel, [0, 0, 4, 8, 0xFF, 0, 0, 0, 1, 0, 0, 0, 1], Ignored),
        new("4.1", "PRIORITY with every flag", UnusedFlags, Tunnel, Frame.Of(FrameType.Priority, All, 1, new byte[5]), Ignored),
        new("4.1", "RST_STREAM with every flag", UnusedFlags, Tunnel, Frame.Of(FrameType.RstStream, All, 1, 0, 0, 0, 8), Story(async stage =>
        {
            Assert.Equal("", await stage.Stream!.Input.HearAsync().InTime());
            await stage.LivesAsync();
        })),
        new("4.1", "DATA with unused flags", UnusedFlags, Tunnel, Frame.Of(FrameType.Data, All & ~(EndStream | Padded), 1, (byte)'a'), Story(async stage =>
        {
            Assert.Equal("a", await stage.Stream!.ReadTextAsync());
            await stage.UseAsync(stage.Stream!);
            await stage.LivesAsync();
        })),
        new("4.1", "HEADERS with unused flags", UnusedFlags, Prefaces, Frame.Connect(1, (FrameFlags)0xD2), HandedOut(1, (":method", "CONNECT"), (":authority", "10.0.0.1:80"))) { Only = Ours.Server },
        new("4.1", "HEADERS with unused flags", UnusedFlags, Requested, Frame.Headers(1, EndHeaders | (FrameFlags)0xD2, (":status", "200")), HandedOut(1, (":status", "200"))) { Only = Ours.Client },
        new("4.1", "PING with the reserved bit", TheReservedBit, Tunnel, Frame.Of(FrameType.Ping, None, Reserved, new byte[8]), Answered(Frame.Of(FrameType.Ping, Ack, 0, new byte[8]))),
        new("4.1", "SETTINGS with the reserved bit", TheReservedBit, Tunnel, Frame.Of(FrameType.Settings, None, Reserved), Answered(Frame.Of(FrameType.Settings, Ack, 0))),
        new("4.1", "WINDOW_UPDATE with the reserved bit", TheReservedBit, Tunnel, Frame.Of(FrameType.WindowUpdate, None, Reserved | 1, 0, 0, 0, 1), Ignored),
        new("4.1", "HEADERS with the reserved bit", TheReservedBit, Prefaces, Frame.Connect(Reserved | 1), HandedOut(1, (":method", "CONNECT"), (":authority", "10.0.0.1:80"))) { Only = Ours.Server },
        new("4.1", "HEADERS with the reserved bit", TheReservedBit, Requested, Frame.Headers(Reserved | 1, EndHeaders, (":status", "200")), HandedOut(1, (":status", "200"))) { Only = Ours.Client },
        new("4.1", "DATA with the reserved bit", TheReservedBit, Tunnel, Frame.Of(FrameType.Data, None, Reserved | 1, (byte)'a'), Story(async stage =>
        {
            Assert.Equal("a", await stage.Stream!.ReadTextAsync());
            await stage.LivesAsync();
        })),
        new("5.5", "a setting that is not known", "Implementations MUST ignore unknown values in all extensible protocol elements.", Tunnel, Frame.Setting((Http2Setting)0x7777, 0xFFFF_FFFF), Answered(Frame.Of(FrameType.Settings, Ack, 0))),
        new("5.5", "RST_STREAM with an error code that is not known", "Unknown error codes MUST NOT trigger any special behaviour (section 7).", Tunnel, Frame.Number32(FrameType.RstStream, 1, 0xDEAD_BEEF), Story(async stage =>
        {
            var reset = await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Input.SumAsync().InTime());
            Assert.Equal(HboneError.Reset, reset.Error);
            await stage.LivesAsync();
        })),
        new("5.5", "GOAWAY with an error code that is not known", "Unknown error codes MUST NOT trigger any special behaviour (section 7).", Tunnel, Frame.GoAway(int.MaxValue, (Http2ErrorCode)0x7777_7777), Story(stage => stage.UseAsync(stage.Stream!))),
        new("5.5", "a frame of unknown type within a field block", "Extension frames that appear in the middle of a field block MUST be treated as a connection error of type PROTOCOL_ERROR.", Tunnel, [.. Frame.Of(FrameType.Headers, None, 1, 0x88), .. Frame.Of(Unknown, None, 0)], ConnectionError(ProtocolError)),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
