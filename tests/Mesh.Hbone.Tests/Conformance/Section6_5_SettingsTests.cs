using System.Buffers.Binary;
using Mesh.Hbone.Http2;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 6.5: SETTINGS.</summary>
public sealed class Section6_5_SettingsTests
{
    private const string WrongLength = "A length that is not a multiple of 6 octets MUST be treated as a connection error of type FRAME_SIZE_ERROR.";
    private const string FrameSizes = "Values of SETTINGS_MAX_FRAME_SIZE outside 2^14 to 2^24-1 MUST be treated as a connection error of type PROTOCOL_ERROR.";
    private const string Push = "Any value of SETTINGS_ENABLE_PUSH other than 0 or 1 MUST be treated as a connection error of type PROTOCOL_ERROR.";
    private const string Windows = "Values of SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 MUST be treated as a connection error of type FLOW_CONTROL_ERROR.";
    private const string UnknownSettings = "An unknown or unsupported setting MUST be ignored.";
    private static readonly byte[] Acknowledgement = Frame.Of(FrameType.Settings, Ack, 0);

    private static readonly ConformanceTable Cases =
    [
        new("6.5", "SETTINGS on a stream", "SETTINGS on a stream MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Settings, None, 1), ConnectionError(ProtocolError)),
        new("6.5", "an acknowledgement of SETTINGS on a stream", "SETTINGS on a stream MUST be answered with a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Of(FrameType.Settings, Ack, 1), ConnectionError(ProtocolError)),
        new("6.5", "SETTINGS of 1 octet", WrongLength, Tunnel, Frame.Of(FrameType.Settings, None, 0, 0), ConnectionError(FrameSizeError)),
        new("6.5", "SETTINGS of 5 octets", WrongLength, Tunnel, Frame.Of(FrameType.Settings, None, 0, new byte[5]), ConnectionError(FrameSizeError)),
        new("6.5", "SETTINGS of 7 octets", WrongLength, Tunnel, Frame.Of(FrameType.Settings, None, 0, new byte[7]), ConnectionError(FrameSizeError)),
        new("6.5", "an acknowledgement of SETTINGS with a payload", "An acknowledgement with a length other than 0 MUST be treated as a connection error of type FRAME_SIZE_ERROR.", Tunnel, Frame.Of(FrameType.Settings, Ack, 0, new byte[6]), ConnectionError(FrameSizeError)),
        new("6.5", "SETTINGS without a setting", "SETTINGS may be empty, and is acknowledged.", Tunnel, Frame.Settings(), Answered(Acknowledgement)),
        new("6.5", "an acknowledgement of SETTINGS", "An acknowledgement is not acknowledged.", Tunnel, Acknowledgement, Ignored),
        new("6.5", "an acknowledgement that nothing asked for", "An acknowledgement has no effect on its own; we pass over it.", Tunnel, [.. Acknowledgement, .. Acknowledgement, .. Acknowledgement], Ignored),
        new("6.5.2", "SETTINGS_ENABLE_PUSH of 2", Push, Tunnel, Frame.Setting(Http2Setting.EnablePush, 2), ConnectionError(ProtocolError)),
        new("6.5.2", "SETTINGS_ENABLE_PUSH of 2^32-1", Push, Tunnel, Frame.Setting(Http2Setting.EnablePush, uint.MaxValue), ConnectionError(ProtocolError)),
        new("6.5.2", "SETTINGS_ENABLE_PUSH of 1", "A client may allow push; we push nothing.", Tunnel, Frame.Setting(Http2Setting.EnablePush, 1), Answered(Acknowledgement)) { Only = Ours.Server },
        new("6.5.2", "SETTINGS_ENABLE_PUSH of 1", "A client MUST treat SETTINGS_ENABLE_PUSH of 1 from a server as a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Setting(Http2Setting.EnablePush, 1), ConnectionError(ProtocolError)) { Only = Ours.Client },
        new("6.5.2", "SETTINGS_ENABLE_PUSH of 0", "Where a server sends the setting at all, it is 0.", Tunnel, Frame.Setting(Http2Setting.EnablePush, 0), Answered(Acknowledgement)),
        new("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", Windows, Tunnel, Frame.Setting(Http2Setting.InitialWindowSize, 0x8000_0000), ConnectionError(FlowControlError)),
        new("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^32-1", Windows, Tunnel, Frame.Setting(Http2Setting.InitialWindowSize, uint.MaxValue), ConnectionError(FlowControlError)),
        new("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31-1", Windows, Tunnel, Frame.Setting(Http2Setting.InitialWindowSize, int.MaxValue), Answered(Acknowledgement)),
        new("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 0", "A window of 0 is a window.", Prefaces, Frame.Setting(Http2Setting.InitialWindowSize, 0), Story(stage => stage.Peer.PingPongAsync())),
        new("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^14-1", FrameSizes, Tunnel, Frame.Setting(Http2Setting.MaxFrameSize, 16_383), ConnectionError(ProtocolError)),
        new("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 0", FrameSizes, Tunnel, Frame.Setting(Http2Setting.MaxFrameSize, 0), ConnectionError(ProtocolError)),
        new("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^24", FrameSizes, Tunnel, Frame.Setting(Http2Setting.MaxFrameSize, 1 << 24), ConnectionError(ProtocolError)),
        new("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^14", FrameSizes, Tunnel, Frame.Setting(Http2Setting.MaxFrameSize, 16_384), Answered(Acknowledgement)),
        new("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^24-1", FrameSizes, Tunnel, Frame.Setting(Http2Setting.MaxFrameSize, (1 << 24) - 1), Answered(Acknowledgement)),
        new("6.5.2", "SETTINGS_MAX_HEADER_LIST_SIZE of 0", "The setting is advisory.", Tunnel, Frame.Setting(Http2Setting.MaxHeaderListSize, 0), Answered(Acknowledgement)),
        new("6.5.2", "setting 0", UnknownSettings, Tunnel, Frame.Setting(0, 1), Answered(Acknowledgement)),
        new("6.5.2", "SETTINGS_ENABLE_CONNECT_PROTOCOL", UnknownSettings + " We do not support RFC 8441.", Tunnel, Frame.Setting((Http2Setting)8, 1), Answered(Acknowledgement)),
        new("6.5.2", "setting 65535", UnknownSettings, Tunnel, Frame.Setting((Http2Setting)0xFFFF, uint.MaxValue), Answered(Acknowledgement)),
        new("6.5", "a good setting before a wrong one", "Settings are processed in order; a wrong one costs the connection wherever it stands.", Tunnel, Frame.Settings((Http2Setting.HeaderTableSize, 1u), (Http2Setting.MaxFrameSize, 1u)), ConnectionError(ProtocolError)),
        new("6.5.3", "the same setting three times", "Settings are processed in the order they appear: the last value counts.", Tunnel, Frame.Settings((Http2Setting.InitialWindowSize, 0u), (Http2Setting.InitialWindowSize, 65_535u), (Http2Setting.InitialWindowSize, 5u)), Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            await stage.Stream!.Output.WriteAsync("0123456789"u8.ToArray());
            Assert.Equal("01234", await stage.Peer.ReadTextAsync(1, 5));
            await stage.Peer.PingPongAsync();
        })),
        new("6.5.3", "three SETTINGS", "Every SETTINGS is acknowledged, in the order of receipt.", Tunnel, [.. Frame.Settings(), .. Frame.Setting(Http2Setting.MaxFrameSize, 20_000), .. Frame.Settings()], Story(async stage =>
        {
            for (var i = 0; i < 3; i++)
            {
                var ack = await stage.Peer.NextAsync();
                Assert.Equal((FrameType.Settings, Ack, 0), (ack.Type, ack.Header.Flags, ack.Header.Length));
            }

            await stage.LivesAsync();
        })),
        new("6.5.2", "nothing, and we announce", "A client that takes no pushes says so with SETTINGS_ENABLE_PUSH of 0; a server leaves the setting out.", Nothing, null, Story(async stage =>
        {
            var settings = (await stage.Peer.NextAsync()).Payload.Chunk(6).ToDictionary(
                one => (Http2Setting)BinaryPrimitives.ReadUInt16BigEndian(one), one => BinaryPrimitives.ReadUInt32BigEndian(one.AsSpan(2)));
            Assert.Equal(stage.Ours is Ours.Client, settings.TryGetValue(Http2Setting.EnablePush, out var push));
            Assert.Equal(0u, push);
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
