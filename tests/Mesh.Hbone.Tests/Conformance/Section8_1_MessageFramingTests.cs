using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 8.1: the frames that a message is made of.</summary>
public sealed class Section8_1_MessageFramingTests
{
    private const string Trailers = "HEADERS behind the first of a message are trailers; without END_STREAM the message is malformed, a stream error of type PROTOCOL_ERROR.";
    private const string InvalidTrailers = "Trailers with fields that are not allowed make a message malformed, a stream error of type PROTOCOL_ERROR.";
    private const string Interim = "Interim responses (1xx) come before the final one, in any number; the application gets the final one.";

    private static readonly ConformanceTable Cases =
    [
        new("8.1", "trailers without END_STREAM before our answer", Trailers, Requested, Frame.Headers(1, EndHeaders, ("a", "b")), StreamError(1, ProtocolError)) { Only = Ours.Server },
        new("8.1", "trailers without END_STREAM behind a refusal", Trailers, Requested, [.. Frame.Headers(1, EndHeaders, (":status", "503")), .. Frame.Headers(1, EndHeaders, ("a", "b"))], StreamErrorBehindAnAnswer) { Only = Ours.Client },
        new("8.1", "a second final response", Trailers, Requested, [.. Frame.Headers(1, EndHeaders, (":status", "503")), .. Frame.Headers(1, EndHeaders, (":status", "200"))], StreamErrorBehindAnAnswer) { Only = Ours.Client },
        new("8.1", "trailers behind a refusal and its text", "A message can end in trailers.", Requested, [.. Frame.Headers(1, EndHeaders, (":status", "503")), .. Frame.Of(FrameType.Data, None, 1, "why"u8), .. Frame.Headers(1, EndHeaders | EndStream, ("a", "b"))], Story(async stage =>
        {
            Assert.Equal("503", (await stage.Stream!.Response.Task.InTime())[0].Value);
            Assert.Equal("why", await stage.Stream.Input.HearAsync().InTime());
            await stage.LivesAsync();
        })) { Only = Ours.Client },
        new("8.1", "trailers with a pseudo-header behind a refusal", "Pseudo-header fields MUST NOT appear in trailers.", Requested, [.. Frame.Headers(1, EndHeaders, (":status", "503")), .. Frame.Headers(1, EndHeaders | EndStream, (":status", "200"))], StreamErrorBehindAnAnswer) { Only = Ours.Client },
        new("8.1", "trailers with a name in upper case behind a refusal", InvalidTrailers, Requested, [.. Frame.Headers(1, EndHeaders, (":status", "503")), .. Frame.Headers(1, EndHeaders | EndStream, ("A", "b"))], StreamErrorBehindAnAnswer) { Only = Ours.Client },
        new("8.1", "trailers with a field of the connection behind a refusal", InvalidTrailers, Requested, [.. Frame.Headers(1, EndHeaders, (":status", "503")), .. Frame.Headers(1, EndHeaders | EndStream, ("connection", "close"))], StreamErrorBehindAnAnswer) { Only = Ours.Client },
        new("8.1", "trailers with a pseudo-header before our answer", "Pseudo-header fields MUST NOT appear in trailers.", Requested, Frame.Headers(1, EndHeaders | EndStream, (":method", "CONNECT")), StreamError(1, ProtocolError)) { Only = Ours.Server },
        new("8.1", "trailers with a name in upper case before our answer", InvalidTrailers, Requested, Frame.Headers(1, EndHeaders | EndStream, ("A", "b")), StreamError(1, ProtocolError)) { Only = Ours.Server },
        new("8.1", "DATA in place of an answer", "A response begins with HEADERS; DATA before is an extraneous frame, which makes it malformed.", Requested, Frame.Of(FrameType.Data, None, 1, 1), StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.1", "empty DATA with END_STREAM in place of an answer", "A response begins with HEADERS; DATA before is an extraneous frame, which makes it malformed.", Requested, Frame.Of(FrameType.Data, EndStream, 1), StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.1", "DATA behind an interim response", "The final response begins with HEADERS; DATA before is an extraneous frame, which makes it malformed.", Requested, [.. Frame.Headers(1, EndHeaders, (":status", "100")), .. Frame.Of(FrameType.Data, None, 1, 1)], StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.1", "100 and 200", Interim, Requested, [.. Frame.Headers(1, EndHeaders, (":status", "100")), .. Frame.Headers(1, EndHeaders, (":status", "200"))], HandedOut(1, (":status", "200"))) { Only = Ours.Client },
        new("8.1", "103 three times and 200", Interim, Requested, [.. Enumerable.Repeat(Frame.Headers(1, EndHeaders, (":status", "103"), ("link", "a")), 3).SelectMany(frame => frame), .. Frame.Headers(1, EndHeaders, (":status", "200"))], HandedOut(1, (":status", "200"))) { Only = Ours.Client },
        new("8.1", "100 with END_STREAM", "HEADERS with an informational status and END_STREAM are malformed.", Requested, Frame.Headers(1, EndHeaders | EndStream, (":status", "100")), StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.1", "an interim response with a name in upper case", "An interim response is a response; malformed, it is a stream error of type PROTOCOL_ERROR.", Requested, Frame.Headers(1, EndHeaders, (":status", "100"), ("A", "b")), StreamError(1, ProtocolError)) { Only = Ours.Client },
        new("8.6", "101 and 200", "101 is not supported in HTTP/2; what a client does with it is open, and we pass over it as over any interim response.", Requested, [.. Frame.Headers(1, EndHeaders, (":status", "101")), .. Frame.Headers(1, EndHeaders, (":status", "200"))], HandedOut(1, (":status", "200"))) { Only = Ours.Client },
        new("8.1", "a request, and we refuse it", "A server that has answered and wants no more of the request MAY ask the client to stop, by RST_STREAM with NO_ERROR behind the whole answer.", Requested, null, Story(async stage =>
        {
            stage.Peer.Connection.Respond(stage.Stream!, [new(":status", "503")], endStream: true);
            stage.Stream!.Release();
            Assert.True((await stage.Peer.ExpectAsync(FrameType.Headers, 1)).EndsStream);
            await stage.Peer.ExpectResetAsync(1, NoError);
            await stage.LivesAsync();
        })) { Only = Ours.Server },
        new("8.1", "a refusal and RST_STREAM with NO_ERROR", "Clients MUST NOT discard responses as a result of receiving such a RST_STREAM.", Requested, [.. Frame.Headers(1, EndHeaders | EndStream, (":status", "503")), .. Frame.Number32(FrameType.RstStream, 1, (uint)NoError)], HandedOut(1, (":status", "503"))) { Only = Ours.Client },
        new("8.1.1", "a malformed request, and its octets", "A malformed request is not handed on; what follows on its stream is discarded.", Prefaces, [.. Frame.Headers(1, EndHeaders, ("a", "b")), .. Frame.Of(FrameType.Data, EndStream, 1, 1)], StreamError(1, ProtocolError)) { Only = Ours.Server },
        new("8.1.1", "a request with a wrong content-length", "CONNECT has no content, so content-length says nothing; a server hands it to the application.", Prefaces, Frame.Headers(1, EndHeaders, (":method", "CONNECT"), (":authority", "a:1"), ("content-length", "5")), HandedOut(1, (":method", "CONNECT"), (":authority", "a:1"), ("content-length", "5"))) { Only = Ours.Server },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    // The answer was right and is handed out; it is what is read behind it that fails.
    private static Reaction StreamErrorBehindAnAnswer => Story(async stage =>
    {
        Assert.Equal("503", (await stage.Stream!.Response.Task.InTime())[0].Value);
        await StreamError(1, ProtocolError).CheckAsync(stage, null);
    });
}
