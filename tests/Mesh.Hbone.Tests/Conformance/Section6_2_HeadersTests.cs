using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.2: HEADERS.</summary>
public sealed class Section6_2_HeadersTests
{
    private const string PaddingTooLong = "Padding as long as the payload or longer MUST be treated as a connection error of type PROTOCOL_ERROR.";
    private static readonly (string, string)[] Request = [(":method", "CONNECT"), (":authority", "10.0.0.1:80")];
    private static readonly (string, string)[] Response = [(":status", "200")];

    private static readonly ConformanceTable Cases =
    [
        new("6.2", "HEADERS on stream 0", "HEADERS on stream 0 MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Connect(0), ConnectionError(ProtocolError)),
        new("6.2", "HEADERS with as much padding as payload", PaddingTooLong, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | Padded, 1, 2, 0x88), ConnectionError(ProtocolError)),
        new("6.2", "HEADERS with more padding than payload", PaddingTooLong, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | Padded, 1, 255, 0x88, 0), ConnectionError(ProtocolError)),
        new("6.2", "HEADERS with padding over their priority", "Padding cannot stand where the priority does: a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Headers, EndHeaders | Padded | FrameFlags.Priority, 1, 5, 0, 0, 0, 0, 0, 0x88), ConnectionError(ProtocolError)),
        .. Read("HEADERS", "HEADERS carry a field block.", None, block => block),
        .. Read("padded HEADERS", "Padding is no part of the field block.", Padded, block => [4, .. block, 0, 0, 0, 0]),
        .. Read("HEADERS padded with nothing", "A frame can be one octet longer by a pad length of zero.", Padded, block => [0, .. block]),
        .. Read("HEADERS with padding that is not zero", "A receiver is not obliged to verify padding; we do not.", Padded, block => [2, .. block, 9, 9]),
        .. Read("HEADERS with a priority", "Priority in HEADERS is deprecated (section 5.3.2); we pass over it.", FrameFlags.Priority, block => [0x80, 0, 0, 3, 16, .. block]),
        .. Read("HEADERS that depend on their own stream", "Priority in HEADERS is deprecated (section 5.3.2); we pass over it, whatever it says.", FrameFlags.Priority, block => [0, 0, 0, 1, 16, .. block]),
        .. Read("padded HEADERS with a priority", "The pad length stands before the priority, the padding behind the block.", Padded | FrameFlags.Priority, block => [3, 0, 0, 0, 0, 255, .. block, 0, 0, 0]),
        new("6.2", "padded HEADERS without a block", "The block may be empty; a request without fields is malformed (section 8.3.1).", Prefaces, Frame.Of(FrameType.Headers, EndHeaders | Padded, 1, 1, 0), StreamError(1, ProtocolError)) { Only = Ours.Server },
        new("6.2", "END_STREAM and a block in two frames", "END_STREAM stands in HEADERS, and CONTINUATION frames can follow all the same.", Prefaces, null, Story(async stage =>
        {
            await stage.Peer.SendAsync(InTwoFrames(EndStream, EndHeaders));
            var request = await stage.Peer.Requests.Reader.ReadAsync().InTime();
            Assert.Equal("", await request.Input.HearAsync().InTime());
            await stage.LivesAsync();
        })) { Only = Ours.Server },
        new("6.2", "a block in two frames, without END_STREAM", "END_STREAM stands in HEADERS only; the same bit of CONTINUATION means nothing.", Prefaces, null, Story(async stage =>
        {
            await stage.Peer.SendAsync(InTwoFrames(None, EndHeaders | EndStream));
            var request = await stage.Peer.Requests.Reader.ReadAsync().InTime();
            await stage.AcceptAsync(request);
            await stage.UseAsync(request);
        })) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static byte[] InTwoFrames(FrameFlags first, FrameFlags second)
    {
        var block = Frame.Block(Request).AsSpan();
        return [.. Frame.Of(FrameType.Headers, first, 1, block[..2]), .. Frame.Of(FrameType.Continuation, second, 1, block[2..])];
    }

    private static IEnumerable<ConformanceCase> Read(string name, string rule, FrameFlags flags, Func<byte[], byte[]> payload) =>
    [
        new("6.2", name, rule, Prefaces, Frame.Of(FrameType.Headers, EndHeaders | flags, 1, payload(Frame.Block(Request))), HandedOut(1, Request)) { Only = Ours.Server },
        new("6.2", name, rule, Requested, Frame.Of(FrameType.Headers, EndHeaders | flags, 1, payload(Frame.Block(Response))), HandedOut(1, Response)) { Only = Ours.Client },
    ];
}
