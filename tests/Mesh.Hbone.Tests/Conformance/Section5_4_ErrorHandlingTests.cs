using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 5.4: what an error costs.</summary>
public sealed class Section5_4_ErrorHandlingTests
{
    private static readonly byte[] NoIncrement = Frame.Number32(FrameType.WindowUpdate, 1, 0);
    private static readonly byte[] PingOnAStream = Frame.Of(FrameType.Ping, None, 1, new byte[8]);

    private static readonly ConformanceTable Cases =
    [
        new("5.4.1", "a fault of the connection when there is no stream", "GOAWAY carries the last stream that was received and processed, 0 when there was none; then the connection MUST be closed.", Prefaces, PingOnAStream, ConnectionError(ProtocolError)),
        new("5.4.1", "a fault of the connection behind three requests", "GOAWAY carries the last stream that was received and processed.", Prefaces, [.. Frame.Connect(1), .. Frame.Connect(3), .. Frame.Connect(5), .. PingOnAStream], ConnectionError(ProtocolError, lastStream: 5)) { Only = Ours.Server },
        new("5.4.1", "a fault of the connection, and more behind it", "Nothing is processed behind a connection error.", Tunnel, [.. PingOnAStream, .. Frame.Connect(3), .. Frame.Of(FrameType.Ping, None, 0, new byte[8])], Story(async stage =>
        {
            Assert.Equal(ProtocolError, (await stage.Peer.ExpectAsync(FrameType.GoAway, 0)).Code);
            await stage.Peer.ExpectEndAsync();
            Assert.Equal(0, stage.Peer.Requests.Reader.Count);
        })),
        new("5.4", "two faults of the connection", "An endpoint SHOULD report at most one connection error: that of the first.", Tunnel, [.. PingOnAStream, .. Frame.Of(FrameType.Settings, None, 0, 1)], ConnectionError(ProtocolError)),
        new("5.4.2", "a fault on one of two streams", "A stream error does not affect processing of other streams.", Tunnel, null, Story(async stage =>
        {
            var other = await stage.TunnelAsync(3);
            stage.NextOfOurs = 5;
            await stage.Peer.SendAsync(NoIncrement);
            await stage.Peer.ExpectResetAsync(1, ProtocolError);
            await stage.UseAsync(other);
            await stage.LivesAsync();
        })),
        new("5.4.2", "a fault on a stream, and more on it", "Who sends RST_STREAM MUST be prepared to receive what was on its way.", Tunnel, [.. NoIncrement, .. Frame.Of(FrameType.Data, None, 1, 1), .. Frame.Number32(FrameType.WindowUpdate, 1, 1)], StreamError(1, ProtocolError)),
        new("5.4", "two faults on a stream", "The first stream error reported for a stream prevents any other from being reported.", Tunnel, [.. NoIncrement, .. Frame.Number32(FrameType.WindowUpdate, 1, int.MaxValue)], StreamError(1, ProtocolError)),
        new("5.4.2", "RST_STREAM", "To avoid looping, an endpoint MUST NOT send RST_STREAM in response to RST_STREAM.", Tunnel, Frame.Number32(FrameType.RstStream, 1, (uint)InternalError), Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            stage.Stream!.Release();
            await stage.LivesAsync();
        })),
        new("5.4.2", "RST_STREAM, and we reset the stream, too", "An endpoint MUST NOT send frames other than PRIORITY on a closed stream.", PeerReset, null, Story(async stage =>
        {
            stage.Stream!.Abort(Cancel);
            await stage.LivesAsync();
        })),
        new("5.4.3", "the end of the transport", "Streams that are open when the connection is lost cannot be retried automatically: they are lost, not unprocessed.", Tunnel, null, Story(async stage =>
        {
            await stage.Peer.HangUpAsync();
            Assert.Equal(HboneError.ConnectionLost, (await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Input.SumAsync().InTime())).Error);
            await stage.Peer.Connection.Closed.InTime();
        })),
        new("5.4.3", "the end of the transport within a frame", "Streams that are open when the connection is lost cannot be retried automatically: they are lost, not unprocessed.", Tunnel, [0, 0, 9, 0, 1, 0, 0, 0, 1, 1], Story(async stage =>
        {
            await stage.Peer.HangUpAsync();
            Assert.Equal(HboneError.ConnectionLost, (await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Input.SumAsync().InTime())).Error);
            await stage.Peer.Connection.Closed.InTime();
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
