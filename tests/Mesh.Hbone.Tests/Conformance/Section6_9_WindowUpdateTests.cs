using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.9: WINDOW_UPDATE and the windows.</summary>
public sealed class Section6_9_WindowUpdateTests
{
    private const string WrongLength = "A length other than 4 octets MUST be treated as a connection error of type FRAME_SIZE_ERROR.";
    private const string NoIncrement = "An increment of 0 MUST be treated as a stream error of type PROTOCOL_ERROR; for the connection, as a connection error.";
    private const string TooLarge = "A window MUST NOT exceed 2^31-1: for a stream RST_STREAM, for the connection GOAWAY, with FLOW_CONTROL_ERROR.";
    private const string OverTheWindow = "A receiver may answer a frame over the window with a stream or a connection error of type FLOW_CONTROL_ERROR; we end the connection.";
    private const string InitialSize = "A change of SETTINGS_INITIAL_WINDOW_SIZE adjusts the windows of all streams by the difference.";

    private static readonly ConformanceTable Cases =
    [
        new("6.9", "WINDOW_UPDATE of 3 octets", WrongLength, Tunnel, Frame.Of(FrameType.WindowUpdate, None, 0, new byte[3]), ConnectionError(FrameSizeError)),
        new("6.9", "WINDOW_UPDATE of 5 octets", WrongLength, Tunnel, Frame.Of(FrameType.WindowUpdate, None, 1, new byte[5]), ConnectionError(FrameSizeError)),
        new("6.9", "WINDOW_UPDATE of no octets", WrongLength, Tunnel, Frame.Of(FrameType.WindowUpdate, None, 0), ConnectionError(FrameSizeError)),
        new("6.9", "WINDOW_UPDATE of a stream by 0", NoIncrement, Tunnel, Frame.Number32(FrameType.WindowUpdate, 1, 0), StreamError(1, ProtocolError)),
        new("6.9", "WINDOW_UPDATE of the connection by 0", NoIncrement, Tunnel, Frame.Number32(FrameType.WindowUpdate, 0, 0), ConnectionError(ProtocolError)),
        new("6.9", "WINDOW_UPDATE by 0 and the reserved bit", "The reserved bit is ignored: the increment is 0.", Tunnel, Frame.Number32(FrameType.WindowUpdate, 1, 0x8000_0000), StreamError(1, ProtocolError)),
        new("6.9", "WINDOW_UPDATE by 1 and the reserved bit", "The reserved bit is ignored: the increment is 1.", Tunnel, Frame.Number32(FrameType.WindowUpdate, 1, 0x8000_0001), Ignored),
        new("6.9", "WINDOW_UPDATE by 0 on an idle stream", "A frame on an idle stream costs the connection, whatever else is wrong with it (section 5.1).", Tunnel, Frame.Number32(FrameType.WindowUpdate, 7, 0), ConnectionError(ProtocolError)),
        new("6.9", "WINDOW_UPDATE of a stream that we have ended", "A receiver MUST NOT treat a late WINDOW_UPDATE as an error.", WeEnded, Frame.Number32(FrameType.WindowUpdate, 1, 1), Ignored),
        new("6.9", "WINDOW_UPDATE of a closed stream", "A receiver MUST NOT treat a late WINDOW_UPDATE as an error.", BothEnded, Frame.Number32(FrameType.WindowUpdate, 1, int.MaxValue), Ignored),

        new("6.9.1", "WINDOW_UPDATE of a stream above 2^31-1", TooLarge, Tunnel, Frame.Number32(FrameType.WindowUpdate, 1, int.MaxValue), StreamError(1, FlowControlError)),
        new("6.9.1", "WINDOW_UPDATE of a stream to 2^31-1 and one more", TooLarge, Tunnel, [.. Frame.Number32(FrameType.WindowUpdate, 1, int.MaxValue - 65_535), .. Frame.Number32(FrameType.WindowUpdate, 1, 1)], StreamError(1, FlowControlError)),
        new("6.9.1", "WINDOW_UPDATE of the connection above 2^31-1", TooLarge, Tunnel, Frame.Number32(FrameType.WindowUpdate, 0, int.MaxValue), ConnectionError(FlowControlError)),
        new("6.9.1", "WINDOW_UPDATE of the connection to 2^31-1 and one more", TooLarge, Tunnel, [.. Frame.Number32(FrameType.WindowUpdate, 0, int.MaxValue - 65_535), .. Frame.Number32(FrameType.WindowUpdate, 0, 1)], ConnectionError(FlowControlError)),
        new("6.9.1", "WINDOW_UPDATE of both windows to 2^31-1", "A window may have 2^31-1 octets.", Tunnel, [.. Frame.Number32(FrameType.WindowUpdate, 0, int.MaxValue - 65_535), .. Frame.Number32(FrameType.WindowUpdate, 1, int.MaxValue - 65_535)], Ignored),
        new("6.9.1", "DATA over the window of the stream", OverTheWindow, Tunnel, Frame.Of(FrameType.Data, None, 1, new byte[65_536]), ConnectionError(FlowControlError)),
        new("6.9.1", "DATA over the window of the connection", OverTheWindow, Tunnel, null, Story(async stage =>
        {
            await stage.TunnelAsync(3);
            await stage.TunnelAsync(5);
            await stage.Peer.SendAsync([.. Frame.Of(FrameType.Data, None, 1, new byte[65_535]), .. Frame.Of(FrameType.Data, None, 3, new byte[65_535]), .. Frame.Of(FrameType.Data, None, 5, 1)]);
            await stage.Peer.ExpectGoAwayAsync(FlowControlError);
        })),
        new("6.9.1", "DATA of all of the window", "The receiver accepts what it has announced.", Tunnel, Frame.Of(FrameType.Data, EndStream, 1, new byte[65_535]), Story(async stage =>
        {
            Assert.Equal(65_535, (await stage.Stream!.Input.SumAsync().InTime()).Count);
            await stage.LivesAsync();
        })),
        new("6.9.1", "empty DATA when its window is used up", "Frames of length 0 may be sent when there is no room in either window.", Tunnel, [.. Frame.Of(FrameType.Data, None, 1, new byte[65_535]), .. Frame.Of(FrameType.Data, EndStream, 1)], Story(async stage =>
        {
            Assert.Equal(65_535, (await stage.Stream!.Input.SumAsync().InTime()).Count);
            await stage.LivesAsync();
        })),
        new("6.9.1", "a window of 1 octet, octet by octet", "The sender goes on as far as the windows allow.", Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.SayAsync("abc");
            Assert.Equal("a", await stage.Peer.ReadTextAsync(1, 1));
            await stage.Peer.PingPongAsync();
            await stage.Peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 1));
            Assert.Equal("b", await stage.Peer.ReadTextAsync(1, 1));
            await stage.Peer.PingPongAsync();
            await stage.Peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 1));
            Assert.Equal("c", await stage.Peer.ReadTextAsync(1, 1));
        })) { Settings = [(Http2Setting.InitialWindowSize, 1)] },

        new("6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE larger, when we wait", InitialSize, Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.SayAsync("0123456789");
            Assert.Equal("01234", await stage.Peer.ReadTextAsync(1, 5));
            await stage.Peer.SendAsync(Frame.Setting(Http2Setting.InitialWindowSize, 7));
            Assert.Equal("56", await stage.Peer.ReadTextAsync(1, 2));
            await stage.Peer.PingPongAsync();
        })) { Settings = [(Http2Setting.InitialWindowSize, 5)] },
        new("6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE smaller than what we have sent", "A window can become negative; nothing MUST be sent until WINDOW_UPDATE makes it positive.", Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.SayAsync("0123456789");
            Assert.Equal("01234", await stage.Peer.ReadTextAsync(1, 5));

            // 5 sent of 2 allowed: the window is -3.
            await stage.Peer.SendAsync([.. Frame.Setting(Http2Setting.InitialWindowSize, 2), .. Frame.Number32(FrameType.WindowUpdate, 1, 3)]);
            await stage.Peer.PingPongAsync();
            await stage.Peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 1));
            Assert.Equal("5", await stage.Peer.ReadTextAsync(1, 1));
            await stage.Peer.PingPongAsync();
        })) { Settings = [(Http2Setting.InitialWindowSize, 5)] },
        new("6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE of 0 and later more", "A sender MUST track a negative window and resume from it.", Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.SayAsync("0123456789");
            Assert.Equal("01234", await stage.Peer.ReadTextAsync(1, 5));
            await stage.Peer.SendAsync([.. Frame.Setting(Http2Setting.InitialWindowSize, 0), .. Frame.Setting(Http2Setting.InitialWindowSize, 6)]);
            Assert.Equal("5", await stage.Peer.ReadTextAsync(1, 1));
            await stage.Peer.PingPongAsync();
        })) { Settings = [(Http2Setting.InitialWindowSize, 5)] },
        new("6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE that makes a window too large", "A change that makes any window exceed 2^31-1 MUST be treated as a connection error of type FLOW_CONTROL_ERROR.", Tunnel, [.. Frame.Number32(FrameType.WindowUpdate, 1, 1), .. Frame.Setting(Http2Setting.InitialWindowSize, int.MaxValue)], ConnectionError(FlowControlError)),
        new("6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE, and the window of the connection", "The window of the connection is changed by WINDOW_UPDATE only.", Tunnel, null, Story(async stage =>
        {
            var sending = stage.Stream!.Output.WriteAsync(new byte[70_000]).AsTask();
            await stage.Peer.ReadDataAsync(1, 65_535);
            await stage.Peer.PingPongAsync();
            await stage.Peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 0, 10_000));
            await stage.Peer.ReadDataAsync(1, 70_000 - 65_535);
            await sending.InTime();
        })) { Settings = [(Http2Setting.InitialWindowSize, 1_000_000)] },
        new("6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE, and a stream opened later", "New streams begin with the size of the last SETTINGS.", Tunnel, Frame.Setting(Http2Setting.InitialWindowSize, 4), Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            var later = await stage.TunnelAsync(3);
            await later.Output.SayAsync("0123456789");
            Assert.Equal("0123", await stage.Peer.ReadTextAsync(3, 4));
            await stage.Peer.PingPongAsync();
        })),
        new("6.9.3", "DATA that crossed our reset", "A receiver that resets a stream MUST still take what was sent before, and count it for the connection.", WeReset, [.. Frame.Of(FrameType.Data, None, 1, new byte[40_000]), .. Frame.Of(FrameType.Data, EndStream, 1, new byte[40_000])], Story(async stage =>
        {
            Assert.InRange((await stage.Peer.ExpectAsync(FrameType.WindowUpdate, 0)).Number, 65_535, 80_000);
            await stage.LivesAsync();
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
