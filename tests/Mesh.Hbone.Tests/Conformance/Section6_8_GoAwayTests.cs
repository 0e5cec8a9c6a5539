using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.8: GOAWAY.</summary>
public sealed class Section6_8_GoAwayTests
{
    private const string WrongLength = "GOAWAY has at least 8 octets; shorter is a connection error of type FRAME_SIZE_ERROR (section 4.2).";
    private const string GoesOn = "Streams up to the last stream of GOAWAY might still complete.";
    private const string Unprocessed = "Streams above the last stream of GOAWAY were not processed, and can be tried again.";
    private static readonly byte[] Debug = Frame.Of(FrameType.GoAway, None, 0, [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, .. "going home"u8]);

    private static readonly ConformanceTable Cases =
    [
        new("6.8", "GOAWAY on a stream", "GOAWAY on a stream MUST be treated as a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.GoAway, None, 1, new byte[8]), ConnectionError(ProtocolError)),
        new("6.8", "GOAWAY of 7 octets", WrongLength, Tunnel, Frame.Of(FrameType.GoAway, None, 0, new byte[7]), ConnectionError(FrameSizeError)),
        new("6.8", "GOAWAY of no octets", WrongLength, Tunnel, Frame.Of(FrameType.GoAway, None, 0), ConnectionError(FrameSizeError)),
        new("6.8", "GOAWAY", GoesOn, Tunnel, Frame.GoAway(1, NoError), Story(UseAndEndAsync)),
        new("6.8", "GOAWAY with debug data", "Debug data carries no meaning.", Tunnel, Debug, Story(UseAndEndAsync)),
        new("6.8", "GOAWAY with an error and an open stream", "GOAWAY says why the connection ends; it is who sends it that closes.", Tunnel, Frame.GoAway(1, EnhanceYourCalm), Story(UseAndEndAsync)),
        new("6.8", "GOAWAY with the reserved bit", "The reserved bit before the last stream is ignored.", Tunnel, Frame.Of(FrameType.GoAway, None, 0, 0x80, 0, 0, 1, 0, 0, 0, 0), Story(UseAndEndAsync)),
        new("6.8", "GOAWAY when there is no stream", "Who has no more use for the connection SHOULD still send GOAWAY before ending it.", Prefaces, Frame.GoAway(0, NoError), Story(async stage =>
        {
            var goAway = await stage.Peer.ExpectAsync(FrameType.GoAway, 0);
            Assert.Equal((0, NoError), (goAway.Number, goAway.Code));
            await stage.Peer.ExpectEndAsync();
        })),
        new("6.8", "GOAWAY that does not name our stream", Unprocessed, Requested, Frame.GoAway(0, NoError), Story(async stage =>
            Assert.Equal(HboneError.Unprocessed, (await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Response.Task.InTime())).Error))) { Only = Ours.Client },
        new("6.8", "GOAWAY that names the first of two streams", Unprocessed, Tunnel, null, Story(async stage =>
        {
            var second = await stage.RequestAsync(3);
            await stage.Peer.SendAsync(Frame.GoAway(1, NoError));
            Assert.Equal(HboneError.Unprocessed, (await Assert.ThrowsAsync<HboneException>(() => second.Response.Task.InTime())).Error);
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Client },
        new("6.8", "GOAWAY, and later one that names less", "An endpoint may send several; the last one says which streams could have been acted upon.", Tunnel, null, Story(async stage =>
        {
            var second = await stage.RequestAsync(3);
            await stage.Peer.SendAsync(Frame.GoAway(int.MaxValue, NoError));
            await stage.Peer.PingPongAsync();
            Assert.False(second.Response.Task.IsCompleted);
            await stage.Peer.SendAsync(Frame.GoAway(1, NoError));
            Assert.Equal(HboneError.Unprocessed, (await Assert.ThrowsAsync<HboneException>(() => second.Response.Task.InTime())).Error);
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Client },
        new("6.8", "GOAWAY, and we want another stream", "Receivers of GOAWAY MUST NOT open additional streams on the connection.", Tunnel, Frame.GoAway(int.MaxValue, NoError), Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            Assert.Null(stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1")], 100));
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Client },
        new("6.8", "a new stream behind its own GOAWAY", "A client that goes away opens no further streams; one that does is refused, and can try again elsewhere.", Tunnel, [.. Frame.GoAway(0, NoError), .. Frame.Connect(3)], Story(async stage =>
        {
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Server },
        new("6.8", "a request when we drain", "A server SHOULD first send GOAWAY with 2^31-1 and then, a round trip later, with the last stream; what came between is processed.", Tunnel, null, Story(async stage =>
        {
            _ = stage.Peer.Connection.DrainAsync();
            Assert.Equal(int.MaxValue, (await stage.Peer.ExpectAsync(FrameType.GoAway, 0)).Number);
            var ping = await stage.Peer.ExpectAsync(FrameType.Ping, 0);
            var late = await stage.TunnelAsync(3);
            await stage.Peer.SendAsync(FrameType.Ping, Ack, 0, ping.Payload);
            Assert.Equal(3, (await stage.Peer.ExpectAsync(FrameType.GoAway, 0)).Number);
            await stage.Peer.SendAsync(Frame.Connect(5));
            await stage.Peer.ExpectResetAsync(5, RefusedStream);
            await stage.UseAsync(late);
            await stage.UseAsync(stage.Stream!);
            await stage.Peer.ExpectGoAwayAsync(NoError);
        })) { Only = Ours.Server },
        new("6.8", "DATA above the last stream of our GOAWAY", "DATA that is ignored MUST still be counted toward the window of the connection, and is credited.", Tunnel, null, Story(async stage =>
        {
            await DrainAsync(stage);
            await stage.Peer.SendAsync([.. Frame.Connect(3), .. Frame.Of(FrameType.Data, None, 3, new byte[65_535])]);
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            Assert.Equal(65_535, (await stage.Peer.ExpectAsync(FrameType.WindowUpdate, 0)).Number);
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Server },
        new("6.8", "a fault after our GOAWAY", "An endpoint that goes away can send GOAWAY again for an error; the last stream MUST NOT be greater than before.", Tunnel, null, Story(async stage =>
        {
            await DrainAsync(stage);
            await stage.Peer.SendAsync([.. Frame.Connect(3), .. Frame.Of(FrameType.Ping, None, 1, new byte[8])]);
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            var goAway = await stage.Peer.ExpectAsync(FrameType.GoAway, 0);
            Assert.Equal((1, ProtocolError), (goAway.Number, goAway.Code));
            await stage.Peer.ExpectEndAsync();
        })) { Only = Ours.Server },
        new("6.8", "nothing, and we close", "Endpoints SHOULD always send GOAWAY before closing a connection.", Prefaces, null, Story(async stage =>
        {
            stage.Peer.Connection.Close(NoError, new HboneException(HboneError.Aborted, "closed by the test"));
            await stage.Peer.ExpectGoAwayAsync(NoError);
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static async Task UseAndEndAsync(Stage stage)
    {
        await stage.UseAsync(stage.Stream!);
        await stage.Peer.ExpectGoAwayAsync(NoError);
    }

    private static async Task DrainAsync(Stage stage)
    {
        _ = stage.Peer.Connection.DrainAsync();
        await stage.Peer.ExpectAsync(FrameType.GoAway, 0);
        await stage.Peer.SendAsync(FrameType.Ping, Ack, 0, (await stage.Peer.ExpectAsync(FrameType.Ping, 0)).Payload);
        Assert.Equal(1, (await stage.Peer.ExpectAsync(FrameType.GoAway, 0)).Number);
    }
}
