using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 5.1: which frames a stream takes in which state.</summary>
public sealed class Section5_1_StreamStateTests
{
    private const string IdleTakesHeaders = "Receiving any frame other than HEADERS or PRIORITY on an idle stream MUST be treated as a connection error of type PROTOCOL_ERROR.";
    private const string NoServerStreams = "A stream that the server would initiate is idle, for we refuse push: HEADERS on it MUST also be treated as a connection error of type PROTOCOL_ERROR.";
    private const string NothingBehindTheEnd = "Frames other than WINDOW_UPDATE, PRIORITY and RST_STREAM on a stream that is half-closed (remote) are an error of type STREAM_CLOSED; of the stream, which we treat as one of the connection (section 5.4.1).";
    private const string ManagedBehindTheEnd = "A stream that is half-closed (remote) takes WINDOW_UPDATE, PRIORITY and RST_STREAM.";
    private const string AnythingBeforeTheirEnd = "An endpoint that has ended can receive any type of frame until the peer has ended, too.";
    private const string LateFrames = "WINDOW_UPDATE, RST_STREAM and PRIORITY can come on a closed stream for what was on its way; they MUST NOT be treated as an error.";
    private const string ClosedIsDiscarded = "An endpoint can minimally process and discard what comes on any closed stream; we do so, and treat it as no error.";
    private const string CrossedOurReset = "An endpoint that has sent RST_STREAM MUST minimally process and then discard any frames that it receives.";
    private static readonly byte[] Trailers = Frame.Headers(1, EndHeaders | EndStream, ("a", "b"));
    private static readonly byte[] Reset = Frame.Number32(FrameType.RstStream, 1, (uint)Cancel);
    private static readonly byte[] Update = Frame.Number32(FrameType.WindowUpdate, 1, 1);
    private static readonly byte[] Priority = Frame.Of(FrameType.Priority, None, 1, new byte[5]);
    private static readonly byte[] Data = Frame.Of(FrameType.Data, None, 1, 1);

    private static readonly ConformanceTable Cases =
    [
        .. Idle(5, "an idle stream", IdleTakesHeaders),
        .. Idle(2, "a stream that only a server could open", IdleTakesHeaders),
        new("5.1", "HEADERS on an idle stream", "Streams are opened by the client; a response on a stream that it has not opened is a connection error of type PROTOCOL_ERROR.", Tunnel, Frame.Headers(5, EndHeaders, (":status", "200")), ConnectionError(ProtocolError)) { Only = Ours.Client },
        new("5.1", "HEADERS on a stream that only a server could open", NoServerStreams, Tunnel, Frame.Headers(2, EndHeaders, (":status", "200")), ConnectionError(ProtocolError)),
        new("5.1", "PRIORITY on an idle stream", "PRIORITY can be received in any state.", Tunnel, Frame.Of(FrameType.Priority, None, 5, new byte[5]), Ignored),

        new("5.1", "DATA behind the end", NothingBehindTheEnd, PeerEnded, Data, ConnectionError(StreamClosed)),
        new("5.1", "empty DATA behind the end", NothingBehindTheEnd, PeerEnded, Frame.Of(FrameType.Data, EndStream, 1), ConnectionError(StreamClosed)),
        new("5.1", "HEADERS behind the end", NothingBehindTheEnd, PeerEnded, Trailers, ConnectionError(StreamClosed)),
        new("5.1", "DATA behind the end of a request", NothingBehindTheEnd, Prefaces, [.. Frame.Connect(1, EndStream), .. Data], ConnectionError(StreamClosed, lastStream: 1)) { Only = Ours.Server },
        new("5.1", "DATA behind the end of a response", NothingBehindTheEnd, Requested, [.. Frame.Headers(1, EndHeaders | EndStream, (":status", "503")), .. Data], ConnectionError(StreamClosed)) { Only = Ours.Client },
        new("5.1", "CONTINUATION behind the end", "CONTINUATION without a field block to continue is a connection error of type PROTOCOL_ERROR in any state (section 6.10).", PeerEnded, Frame.Of(FrameType.Continuation, EndHeaders, 1), ConnectionError(ProtocolError)),
        new("5.1", "WINDOW_UPDATE behind the end", ManagedBehindTheEnd, PeerEnded, Update, Ignored),
        new("5.1", "PRIORITY behind the end", ManagedBehindTheEnd, PeerEnded, Priority, Ignored),
        new("5.1", "RST_STREAM behind the end", ManagedBehindTheEnd, PeerEnded, Reset, Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            await Eventually.Until("flushes say that nobody reads", () => stage.Stream!.Output.WriteAsync(new byte[1]).AsTask().Result.IsCompleted);
            await stage.LivesAsync();
        })),

        new("5.1", "WINDOW_UPDATE when we have ended", AnythingBeforeTheirEnd, WeEnded, Update, Ignored),
        new("5.1", "PRIORITY when we have ended", AnythingBeforeTheirEnd, WeEnded, Priority, Ignored),
        new("5.1", "DATA when we have ended", AnythingBeforeTheirEnd, WeEnded, Data, Story(async stage =>
        {
            Assert.Equal("\u0001", await stage.Stream!.ReadTextAsync());
            await stage.LivesAsync();
        })),
        new("5.1", "more than a window of DATA when we have ended", "Credit must still be given to go on receiving.", WeEnded, Frame.Of(FrameType.Data, None, 1, new byte[65_535]), Story(async stage =>
        {
            var reading = stage.Stream!.Input.SumAsync();
            Assert.InRange((await stage.Peer.ExpectAsync(FrameType.WindowUpdate, 1)).Number, 1, 65_535);
            await stage.Peer.SendAsync(FrameType.Data, EndStream, 1, 1);
            Assert.Equal(65_536, (await reading.InTime()).Count);
            await stage.LivesAsync();
        })),
        new("5.1", "RST_STREAM when we have ended", AnythingBeforeTheirEnd, WeEnded, Reset, Story(async stage =>
        {
            Assert.Equal("", await stage.Stream!.Input.HearAsync().InTime());
            await stage.LivesAsync();
        })),

        new("5.1", "WINDOW_UPDATE when both have ended", LateFrames, BothEnded, Update, Ignored),
        new("5.1", "RST_STREAM when both have ended", LateFrames, BothEnded, Reset, Ignored),
        new("5.1", "PRIORITY when both have ended", LateFrames, BothEnded, Priority, Ignored),
        new("5.1", "DATA when both have ended", ClosedIsDiscarded, BothEnded, Data, Ignored),
        new("5.1", "trailers when both have ended", ClosedIsDiscarded, BothEnded, Trailers, Ignored),
        new("5.1", "CONTINUATION when both have ended", "CONTINUATION without a field block to continue is a connection error of type PROTOCOL_ERROR in any state (section 6.10).", BothEnded, Frame.Of(FrameType.Continuation, EndHeaders, 1), ConnectionError(ProtocolError)),

        new("5.1", "DATA when we have reset", CrossedOurReset, WeReset, Data, Ignored),
        new("5.1", "trailers when we have reset", CrossedOurReset, WeReset, Trailers, Ignored),
        new("5.1", "trailers in pieces when we have reset", CrossedOurReset, WeReset, [.. Frame.Of(FrameType.Headers, EndStream, 1, 0x00, 0x01, 0x61), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x01, 0x62)], Ignored),
        new("5.1", "WINDOW_UPDATE when we have reset", CrossedOurReset, WeReset, Update, Ignored),
        new("5.1", "WINDOW_UPDATE by 0 when we have reset", CrossedOurReset, WeReset, Frame.Number32(FrameType.WindowUpdate, 1, 0), Ignored),
        new("5.1", "RST_STREAM when we have reset", CrossedOurReset, WeReset, Reset, Ignored),
        new("5.1", "PRIORITY when we have reset", CrossedOurReset, WeReset, Priority, Ignored),
        new("5.1", "a window of DATA when we have reset", "DATA that is discarded counts toward the window of the connection, and is credited.", WeReset, Frame.Of(FrameType.Data, None, 1, new byte[65_535]), Story(async stage =>
        {
            Assert.Equal(65_535, (await stage.Peer.ExpectAsync(FrameType.WindowUpdate, 0)).Number);
            await stage.LivesAsync();
        })),

        new("5.1", "DATA when it has reset", ClosedIsDiscarded, PeerReset, Data, Ignored),
        new("5.1", "trailers when it has reset", ClosedIsDiscarded, PeerReset, Trailers, Ignored),
        new("5.1", "WINDOW_UPDATE when it has reset", ClosedIsDiscarded, PeerReset, Update, Ignored),
        new("5.1", "RST_STREAM when it has reset", ClosedIsDiscarded, PeerReset, Reset, Ignored),
        new("5.1", "PRIORITY when it has reset", ClosedIsDiscarded, PeerReset, Priority, Ignored),
        new("5.1", "RST_STREAM, and we go on writing", "An endpoint MUST NOT send frames other than PRIORITY on a closed stream.", PeerReset, null, Story(async stage =>
        {
            await stage.Stream!.Output.WriteAsync(new byte[100]);
            stage.Stream.Release();
            await stage.LivesAsync();
        })),
        new("5.1", "a request that it ends at once", "HEADERS with END_STREAM on an idle stream makes it half-closed (remote).", Prefaces, null, Story(async stage =>
        {
            var stream = await stage.Peer.OpenAsync(1, EndStream);
            Assert.Equal("", await stream.Input.HearAsync().InTime());
            await stage.AcceptAsync(stream);
            await stream.Output.SayAsync("all the same");
            await stage.ExpectEndAsync(1, "all the same");
        })) { Only = Ours.Server },
        new("5.1", "a response that it ends at once", "HEADERS with END_STREAM makes the stream half-closed (remote); we can still send.", Requested, Frame.Headers(1, EndHeaders | EndStream, (":status", "200")), Story(async stage =>
        {
            Assert.Equal("200", (await stage.Stream!.Response.Task.InTime())[0].Value);
            Assert.Equal("", await stage.Stream.Input.HearAsync().InTime());
            await stage.Stream.Output.SayAsync("all the same");
            await stage.ExpectEndAsync(1, "all the same");
        })) { Only = Ours.Client },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static IEnumerable<ConformanceCase> Idle(int stream, string name, string rule) =>
    [
        new("5.1", $"DATA on {name}", rule, Tunnel, Frame.Of(FrameType.Data, None, stream, 1), ConnectionError(ProtocolError)),
        new("5.1", $"RST_STREAM on {name}", rule, Tunnel, Frame.Number32(FrameType.RstStream, stream, 8), ConnectionError(ProtocolError)),
        new("5.1", $"WINDOW_UPDATE on {name}", rule, Tunnel, Frame.Number32(FrameType.WindowUpdate, stream, 1), ConnectionError(ProtocolError)),
        new("5.1", $"CONTINUATION on {name}", rule, Tunnel, Frame.Of(FrameType.Continuation, EndHeaders, stream), ConnectionError(ProtocolError)),
    ];
}
