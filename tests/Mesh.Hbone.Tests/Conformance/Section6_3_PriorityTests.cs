using Mesh.Hbone.Http2;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.3: PRIORITY, which is deprecated.</summary>
public sealed class Section6_3_PriorityTests
{
    private const string WrongLength = "A length other than 5 octets MUST be treated as a stream error of type FRAME_SIZE_ERROR; we treat it as one of the connection (section 5.4.1).";
    private const string Deprecated = "PRIORITY does not affect the state of any stream; we pass over it.";

    private static readonly ConformanceTable Cases =
    [
        new("6.3", "PRIORITY on stream 0", "PRIORITY on stream 0 MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Priority, None, 0, new byte[5]), ConnectionError(ProtocolError)),
        new("6.3", "PRIORITY of 4 octets", WrongLength, Tunnel, Frame.Of(FrameType.Priority, None, 1, new byte[4]), ConnectionError(FrameSizeError)),
        new("6.3", "PRIORITY of 6 octets", WrongLength, Tunnel, Frame.Of(FrameType.Priority, None, 1, new byte[6]), ConnectionError(FrameSizeError)),
        new("6.3", "PRIORITY of no octets on an idle stream", WrongLength, Prefaces, Frame.Of(FrameType.Priority, None, 7), ConnectionError(FrameSizeError)),
        new("6.3", "PRIORITY on an open stream", Deprecated, Tunnel, Frame.Of(FrameType.Priority, None, 1, 0, 0, 0, 3, 16), Ignored),
        new("6.3", "PRIORITY that depends on its own stream", Deprecated, Tunnel, Frame.Of(FrameType.Priority, None, 1, 0, 0, 0, 1, 16), Ignored),
        new("6.3", "PRIORITY with the exclusive bit", Deprecated, Tunnel, Frame.Of(FrameType.Priority, None, 1, 0x80, 0, 0, 0, 255), Ignored),
        new("6.3", "PRIORITY on an idle stream, then a lower one", "PRIORITY on an idle stream does not open it, nor close those below.", Prefaces, [.. Frame.Of(FrameType.Priority, None, 9, new byte[5]), .. Frame.Connect(1)], HandedOut(1, (":method", "CONNECT"), (":authority", "10.0.0.1:80"))) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
