using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 5.2: what flow control holds back, and what it does not.</summary>
public sealed class Section5_2_FlowControlTests
{
    private const string OnlyData = "Only DATA is subject to flow control; no other frame is held back by it.";

    private static readonly ConformanceTable Cases =
    [
        new("5.2.1", "no credit at first", "A sender MUST respect the limits of the receiver: at first 65,535 octets for a stream and for the connection.", Tunnel, null, Story(async stage =>
        {
            var sending = stage.Stream!.Output.WriteAsync(new byte[70_000]).AsTask();
            await stage.Peer.ReadDataAsync(1, 65_535);
            await stage.Peer.PingPongAsync();
            await stage.Peer.SendAsync([.. Frame.Number32(FrameType.WindowUpdate, 0, 10_000), .. Frame.Number32(FrameType.WindowUpdate, 1, 10_000)]);
            await stage.Peer.ReadDataAsync(1, 70_000 - 65_535);
            await sending.InTime();
        })),
        new("5.2.1", "a window for the stream of 0, and a request", OnlyData, Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.WriteAsync(new byte[100]);
            await stage.TunnelAsync(3);
            await stage.Peer.PingPongAsync();
        })) { Settings = [(Http2Setting.InitialWindowSize, 0)] },
        new("5.2.1", "a window for the stream of 0, and we reset it", OnlyData, Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.WriteAsync(new byte[100]);
            stage.Stream.Abort(Cancel);
            await stage.Peer.ExpectResetAsync(1, Cancel);
        })) { Settings = [(Http2Setting.InitialWindowSize, 0)] },
        new("5.2.1", "a window for the stream of 0, and we end it", "A DATA frame of no octets takes nothing from a window: the end of a stream is not held back.", Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.CompleteAsync();
            Assert.True((await stage.Peer.ExpectAsync(FrameType.Data, 1)).EndsStream);
        })) { Settings = [(Http2Setting.InitialWindowSize, 0)] },
        new("5.2.2", "a stream that is full, and others", "Flow control is there so that a stream that nobody reads does not stop the others.", Tunnel, Frame.Of(FrameType.Data, None, 1, new byte[65_535]), Story(async stage =>
        {
            await stage.UseAsync(await stage.TunnelAsync(3));
            await stage.UseAsync(await stage.TunnelAsync(5));
        })),
        new("5.2.1", "octets, and we read them", "Receivers give credit as they are prepared to receive more.", Tunnel, Frame.Of(FrameType.Data, None, 1, new byte[65_535]), Story(async stage =>
        {
            var reading = stage.Stream!.Input.SumAsync();
            Assert.InRange((await stage.Peer.ExpectAsync(FrameType.WindowUpdate, 1)).Number, 1, 65_535);
            await stage.Peer.SendAsync(FrameType.Data, EndStream, 1);
            Assert.Equal(65_535, (await reading.InTime()).Count);
        })),
        new("5.2.1", "octets, and we do not read them", "No credit for a stream is given for what its application has not read.", Tunnel, Frame.Of(FrameType.Data, None, 1, new byte[65_535]), Story(async stage =>
        {
            await stage.Peer.SendAsync(FrameType.Ping, None, 0, new byte[8]);
            for (var frame = await stage.Peer.NextAsync(); frame.Type is not FrameType.Ping; frame = await stage.Peer.NextAsync())
            {
                Assert.NotEqual((FrameType.WindowUpdate, 1), (frame.Type, frame.StreamId));
            }
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
