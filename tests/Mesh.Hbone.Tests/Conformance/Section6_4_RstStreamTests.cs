using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.4: RST_STREAM.</summary>
public sealed class Section6_4_RstStreamTests
{
    private const string WrongLength = "A length other than 4 octets MUST be treated as a connection error of type FRAME_SIZE_ERROR.";

    private static readonly ConformanceTable Cases =
    [
        new("6.4", "RST_STREAM on stream 0", "RST_STREAM on stream 0 MUST be treated as a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Number32(FrameType.RstStream, 0, 8), ConnectionError(ProtocolError)),
        new("6.4", "RST_STREAM on an idle stream", "RST_STREAM on an idle stream MUST be treated as a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Number32(FrameType.RstStream, 3, 8), ConnectionError(ProtocolError)),
        new("6.4", "RST_STREAM of 3 octets", WrongLength, Tunnel, Frame.Of(FrameType.RstStream, None, 1, new byte[3]), ConnectionError(FrameSizeError)),
        new("6.4", "RST_STREAM of 5 octets", WrongLength, Tunnel, Frame.Of(FrameType.RstStream, None, 1, new byte[5]), ConnectionError(FrameSizeError)),
        new("6.4", "RST_STREAM of no octets", WrongLength, Tunnel, Frame.Of(FrameType.RstStream, None, 1), ConnectionError(FrameSizeError)),
        Fails(ProtocolError),
        Fails(InternalError),
        Fails(FlowControlError),
        Fails(StreamClosed),
        Fails(ConnectError),
        Fails(EnhanceYourCalm),
        new("6.4", "RST_STREAM in place of an answer", "RST_STREAM terminates the stream; a request without an answer has failed.", Requested, Frame.Number32(FrameType.RstStream, 1, (uint)ConnectError), Story(async stage =>
        {
            var reset = await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Response.Task.InTime());
            Assert.Equal((HboneError.Reset, ConnectError), (reset.Error, reset.Code!.Value));
            await stage.LivesAsync();
        })) { Only = Ours.Client },
        new("6.4", "RST_STREAM before our answer", "After RST_STREAM the receiver MUST NOT send further frames on the stream, an answer neither.", Requested, Frame.Number32(FrameType.RstStream, 1, (uint)Cancel), Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            stage.Peer.Connection.Respond(stage.Stream!, [new(":status", "200")], endStream: false);
            await stage.LivesAsync();
        })) { Only = Ours.Server },
        new("6.4", "RST_STREAM when we have much to send", "After RST_STREAM the receiver MUST NOT send further frames on the stream.", Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.WriteAsync(new byte[90_000]).InTime();
            await stage.Peer.ReadDataAsync(1, 65_535);
            await stage.Peer.SendAsync([.. Frame.Number32(FrameType.RstStream, 1, (uint)Cancel), .. Frame.Number32(FrameType.WindowUpdate, 0, 100_000), .. Frame.Number32(FrameType.WindowUpdate, 1, 100_000)]);
            await stage.LivesAsync();
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static ConformanceCase Fails(Http2ErrorCode code) => new(
        "6.4", $"RST_STREAM with {code}", "RST_STREAM terminates the stream, and its code says why.", Tunnel, Frame.Number32(FrameType.RstStream, 1, (uint)code), Story(async stage =>
        {
            var reset = await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Input.SumAsync().InTime());
            Assert.Equal((HboneError.Reset, code), (reset.Error, reset.Code!.Value));
            await stage.LivesAsync();
        }));
}
