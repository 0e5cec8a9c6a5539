using Mesh.Hbone.Http2;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 5.1.2: how many streams may be open.</summary>
public sealed class Section5_1_2_ConcurrencyTests
{
    private const string Refused = "HEADERS over the announced limit MUST be treated as a stream error of type PROTOCOL_ERROR or REFUSED_STREAM; we say REFUSED_STREAM, for it can be tried again.";
    private const string Counting = "Streams that are open or half-closed count; those that are idle or closed do not.";
    private const string TheirLimit = "Endpoints MUST NOT exceed the limit set by their peer.";

    private static readonly ConformanceTable Cases =
    [
        new("5.1.2", "a request over the limit", Refused, Tunnel, Frame.Connect(3), Story(async stage =>
        {
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            Assert.Equal(0, stage.Peer.Requests.Reader.Count);
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Server, Options = OneStream() },
        new("5.1.2", "DATA on a stream that was refused", "A refused stream is closed by our RST_STREAM: what was on its way is discarded.", Tunnel, [.. Frame.Connect(3), .. Frame.Of(FrameType.Data, EndStream, 3, 1)], Story(async stage =>
        {
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Server, Options = OneStream() },
        new("5.1.2", "a fault behind a request over the limit", "A refused stream was not processed; GOAWAY does not name it.", Tunnel, [.. Frame.Connect(3), .. Frame.Of(FrameType.Ping, None, 1, new byte[8])], Story(async stage =>
        {
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            var goAway = await stage.Peer.ExpectAsync(FrameType.GoAway, 0);
            Assert.Equal((1, ProtocolError), (goAway.Number, goAway.Code));
            await stage.Peer.ExpectEndAsync();
        })) { Only = Ours.Server, Options = OneStream() },
        new("5.1.2", "a request when another is half-closed (remote)", Counting, PeerEnded, Frame.Connect(3), Story(stage => stage.Peer.ExpectResetAsync(3, RefusedStream))) { Only = Ours.Server, Options = OneStream() },
        new("5.1.2", "a request when another is half-closed (local)", Counting, WeEnded, Frame.Connect(3), Story(stage => stage.Peer.ExpectResetAsync(3, RefusedStream))) { Only = Ours.Server, Options = OneStream() },
        new("5.1.2", "a request when another is closed", Counting, BothEnded, null, Story(async stage =>
        {
            stage.Stream!.Release();
            await stage.LivesAsync();
        })) { Only = Ours.Server, Options = OneStream() },
        new("5.1.2", "SETTINGS_MAX_CONCURRENT_STREAMS of 1", TheirLimit, Tunnel, null, Story(async stage =>
        {
            Assert.Null(stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1")], 100));
            await stage.UseAsync(stage.Stream!);
            await stage.LivesAsync();
        })) { Only = Ours.Client, Settings = [(Http2Setting.MaxConcurrentStreams, 1)] },
        new("5.1.2", "SETTINGS_MAX_CONCURRENT_STREAMS of 0, later of 1", "A value of 0 is not special: it prevents new streams until it is raised.", Prefaces, null, Story(async stage =>
        {
            Assert.Null(stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1")], 100));
            await stage.Peer.SendAsync(Frame.Setting(Http2Setting.MaxConcurrentStreams, 1));
            await stage.LivesAsync();
        })) { Only = Ours.Client, Settings = [(Http2Setting.MaxConcurrentStreams, 0)] },
        new("5.1.2", "SETTINGS_MAX_CONCURRENT_STREAMS below what is open", "An endpoint may lower the limit and allow the open streams to complete.", Tunnel, Frame.Setting(Http2Setting.MaxConcurrentStreams, 0), Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            Assert.Null(stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1")], 100));
            await stage.UseAsync(stage.Stream!);
        })) { Only = Ours.Client },
        new("5.1.2", "SETTINGS_MAX_CONCURRENT_STREAMS of 0", "The limit applies only to the streams that its receiver initiates; a client's is for pushes, of which we send none.", Tunnel, Frame.Setting(Http2Setting.MaxConcurrentStreams, 0), Answered(Frame.Of(FrameType.Settings, Ack, 0))) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static HboneOptions OneStream()
    {
        var options = Http2Peer.SmallOptions();
        options.MaxConcurrentStreams = 1;
        return options;
    }
}
