using Mesh.Hbone.Http2;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.7: PING.</summary>
public sealed class Section6_7_PingTests
{
    private const string WrongLength = "A length other than 8 MUST be treated as a connection error of type FRAME_SIZE_ERROR.";
    private const string Answer = "PING without ACK MUST be answered by PING with ACK and the identical payload.";

    private static readonly ConformanceTable Cases =
    [
        new("6.7", "PING", Answer, Tunnel, Frame.Of(FrameType.Ping, None, 0, "12345678"u8), Answered(Frame.Of(FrameType.Ping, Ack, 0, "12345678"u8))),
        new("6.7", "PING before any stream", Answer, Prefaces, Frame.Of(FrameType.Ping, None, 0, new byte[8]), Answered(Frame.Of(FrameType.Ping, Ack, 0, new byte[8]))),
        new("6.7", "PING with what we ask when we drain", "PING with ACK answers only what was asked; the same octets without ACK are a PING like any other.", Prefaces, Frame.Of(FrameType.Ping, None, 0, 0x6D, 0x65, 0x73, 0x68, 0x64, 0x72, 0x61, 0x69), Answered(Frame.Of(FrameType.Ping, Ack, 0, 0x6D, 0x65, 0x73, 0x68, 0x64, 0x72, 0x61, 0x69))),
        new("6.7", "three PINGs", Answer, Tunnel, [.. Enumerable.Range(1, 3).SelectMany(i => Frame.Of(FrameType.Ping, None, 0, 0, 0, 0, 0, 0, 0, 0, (byte)i))], Story(async stage =>
        {
            for (var i = 1; i <= 3; i++)
            {
                var answer = await stage.Peer.NextAsync();
                Assert.Equal((FrameType.Ping, Ack, (byte)i), (answer.Type, answer.Header.Flags, answer.Payload[7]));
            }

            await stage.LivesAsync();
        })),
        new("6.7", "PING with ACK", "An endpoint MUST NOT respond to PING with ACK.", Tunnel, Frame.Of(FrameType.Ping, Ack, 0, new byte[8]), Ignored),
        new("6.7", "PING with ACK that answers a drain that we have not begun", "An answer to nothing has no effect.", Tunnel, Frame.Of(FrameType.Ping, Ack, 0, 0x6D, 0x65, 0x73, 0x68, 0x64, 0x72, 0x61, 0x69), Ignored),
        new("6.7", "PING on a stream", "PING on a stream MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Ping, None, 1, new byte[8]), ConnectionError(ProtocolError)),
        new("6.7", "PING with ACK on a stream", "PING on a stream MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Ping, Ack, 1, new byte[8]), ConnectionError(ProtocolError)),
        new("6.7", "PING of 7 octets", WrongLength, Tunnel, Frame.Of(FrameType.Ping, None, 0, new byte[7]), ConnectionError(FrameSizeError)),
        new("6.7", "PING of 9 octets", WrongLength, Tunnel, Frame.Of(FrameType.Ping, None, 0, new byte[9]), ConnectionError(FrameSizeError)),
        new("6.7", "PING of no octets", WrongLength, Tunnel, Frame.Of(FrameType.Ping, None, 0), ConnectionError(FrameSizeError)),
        new("6.7", "PING with ACK of 6 octets", WrongLength, Tunnel, Frame.Of(FrameType.Ping, Ack, 0, new byte[6]), ConnectionError(FrameSizeError)),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
