using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Messages;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, sections 8.5 and 8.7: CONNECT, and what can be tried again.</summary>
public sealed class Section8_5_ConnectTests
{
    private const string Form = "A CONNECT has :method and :authority; :scheme and :path MUST be omitted; else it is malformed.";
    private const string Extended = "Extended CONNECT (RFC 8441) is for clients to whom it was announced, and we announce it to none: :protocol is undefined, the request malformed.";
    private const string ConnectedStream = "Frame types other than DATA, RST_STREAM, WINDOW_UPDATE and PRIORITY on a connected stream MUST be treated as a stream error.";
    private const string Tolerated = "HEADERS are no frame for a connected stream; trailers that end it are taken for the end that they are, since peers send them.";
    private static readonly (string, string) Method = (":method", "CONNECT");
    private static readonly (string, string) Authority = (":authority", "a:1");

    private static readonly ConformanceTable Cases =
    [
        MalformedRequest("8.5", "CONNECT without :authority", Form, Method),
        MalformedRequest("8.5", "CONNECT with an empty :authority", Form, Method, (":authority", "")),
        MalformedRequest("8.5", "CONNECT with host and no :authority", Form, Method, ("host", "a:1")),
        MalformedRequest("8.5", "CONNECT with :scheme", Form, Method, Authority, (":scheme", "https")),
        MalformedRequest("8.5", "CONNECT with :path", Form, Method, Authority, (":path", "/")),
        MalformedRequest("8.5", "CONNECT with :scheme and :path", Form, Method, (":scheme", "https"), Authority, (":path", "/")),
        MalformedRequest("8.5", "CONNECT with an empty :path", Form, Method, Authority, (":path", "")),
        MalformedRequest("8.5", "extended CONNECT", Extended, Method, (":protocol", "websocket"), (":scheme", "https"), (":path", "/"), Authority),
        MalformedRequest("8.5", "CONNECT with :protocol", Extended, Method, Authority, (":protocol", "connect-tcp")),
        new("8.5", "HEADERS that end a tunnel", Tolerated, Tunnel, Frame.Headers(1, EndHeaders | EndStream, ("a", "b")), Story(async stage =>
        {
            Assert.Equal("", await stage.Stream!.Input.HearAsync().InTime());
            await stage.Stream.Output.SayAsync("still from us");
            await stage.ExpectEndAsync(1, "still from us");
            await stage.LivesAsync();
        })),
        new("8.5", "HEADERS that do not end a tunnel", ConnectedStream, Tunnel, Frame.Headers(1, EndHeaders, ("a", "b")), StreamError(1, ProtocolError)),
        new("8.5", "a second 200 on a tunnel", ConnectedStream, Tunnel, Frame.Headers(1, EndHeaders, (":status", "200")), StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.5", "an interim response on a tunnel", ConnectedStream, Tunnel, Frame.Headers(1, EndHeaders, (":status", "103")), StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.5", "a second request on a tunnel", ConnectedStream, Tunnel, Frame.Connect(1), StreamError(1, ProtocolError)) { Only = Ours.Server },
        new("8.5", "HEADERS that end a tunnel that we have ended", Tolerated, WeEnded, Frame.Headers(1, EndHeaders | EndStream, ("a", "b")), Story(async stage =>
        {
            Assert.Equal("", await stage.Stream!.Input.HearAsync().InTime());
            await stage.LivesAsync();
        })),
        new("8.5", "the end, first", "END_STREAM is the FIN of the TCP connection: the other direction goes on.", PeerEnded, null, Story(async stage =>
        {
            await stage.Stream!.Output.SayAsync("still from us");
            await stage.ExpectEndAsync(1, "still from us");
            await stage.LivesAsync();
        })),
        new("8.5", "octets behind our end", "END_STREAM is the FIN of the TCP connection: the other direction goes on.", WeEnded, Frame.Of(FrameType.Data, EndStream, 1, "still to us"u8), Story(async stage =>
        {
            Assert.Equal("still to us", await stage.Stream!.Input.HearAsync().InTime());
            await stage.LivesAsync();
        })),
        new("8.5", "RST_STREAM with CONNECT_ERROR", "A TCP connection error is signalled with RST_STREAM of type CONNECT_ERROR; the application learns it as a reset.", Tunnel, Frame.Number32(FrameType.RstStream, 1, (uint)ConnectError), Story(async stage =>
        {
            var reset = await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Input.SumAsync().InTime());
            Assert.Equal((HboneError.Reset, ConnectError), (reset.Error, reset.Code!.Value));
            await stage.LivesAsync();
        })),
        new("8.5", "a request", "A CONNECT has :method and :authority; the answer is HEADERS with a 2xx status, without END_STREAM.", Prefaces, Frame.Connect(1), Story(async stage =>
        {
            var request = await stage.Peer.Requests.Reader.ReadAsync().InTime();
            stage.Peer.Connection.Respond(request, [new(":status", "200")], endStream: false);
            var answer = await stage.Peer.ExpectAsync(FrameType.Headers, 1);
            Assert.Equal((EndHeaders, ":status: 200"), (answer.Header.Flags, stage.Peer.Describe(answer)));
            await stage.UseAsync(request);
        })) { Only = Ours.Server },
        new("8.5", "nothing, and we ask", "Our CONNECT has :method and :authority and no other pseudo-header, and does not end the stream.", Prefaces, null, Story(async stage =>
        {
            stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1")], 100);
            var request = await stage.Peer.ExpectAsync(FrameType.Headers, 1);
            Assert.Equal((EndHeaders, ":method: CONNECT, :authority: a:1"), (request.Header.Flags, stage.Peer.Describe(request)));
        })) { Only = Ours.Client },
        new("8.7", "RST_STREAM with REFUSED_STREAM", "REFUSED_STREAM says that nothing was processed: the request can be tried again.", Requested, Frame.Number32(FrameType.RstStream, 1, (uint)RefusedStream), Story(async stage =>
        {
            Assert.Equal(HboneError.Unprocessed, (await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Response.Task.InTime())).Error);
            await stage.LivesAsync();
        })) { Only = Ours.Client },
        new("8.7", "RST_STREAM with another code", "Only REFUSED_STREAM and GOAWAY say that nothing was processed.", Requested, Frame.Number32(FrameType.RstStream, 1, (uint)InternalError), Story(async stage =>
        {
            Assert.Equal(HboneError.Reset, (await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Response.Task.InTime())).Error);
            await stage.LivesAsync();
        })) { Only = Ours.Client },
        new("8.7", "a request when we have begun to work on another", "REFUSED_STREAM MUST NOT be used for a stream that the application was given, and GOAWAY MUST name it.", Prefaces, [.. Frame.Connect(1), .. Frame.Connect(3)], Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            stage.Peer.Connection.Close(NoError, new HboneException(HboneError.Aborted, "closed by the test"));
            Assert.Equal(3, (await stage.Peer.ExpectAsync(FrameType.GoAway, 0)).Number);
        })) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
