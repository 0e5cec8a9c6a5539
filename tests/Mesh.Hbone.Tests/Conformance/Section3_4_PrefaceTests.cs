using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 3.4: the connection preface.</summary>
public sealed class Section3_4_PrefaceTests
{
    private const string AServerIsSpokenToInHttp2 =
        "Clients and servers MUST treat an invalid connection preface as a connection error of type PROTOCOL_ERROR; GOAWAY may be left out, we send it.";

    private const string TheFirstFrameIsSettings =
        "The first frame of either end is SETTINGS, which may be empty; anything else is an invalid preface, a connection error of type PROTOCOL_ERROR.";

    private static readonly byte[] Ping = Frame.Of(FrameType.Ping, None, 0, new byte[8]);

    private static readonly ConformanceTable Cases =
    [
        Wrong("a request of HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"u8),
        Wrong("a preface with another last octet", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"u8),
        Wrong("a preface with another first octet", "pRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8),
        Wrong("the beginning of a TLS handshake", [0x16, 0x03, 0x01, 0x02, 0x00]),
        Wrong("SETTINGS and no preface", Frame.Settings()),
        Wrong("a zero", 0),
        First(Ours.Server, "PING", Ping),
        First(Ours.Server, "HEADERS", Frame.Connect(1)),
        First(Ours.Server, "DATA", Frame.Of(FrameType.Data, None, 1, 1)),
        First(Ours.Server, "WINDOW_UPDATE", Frame.Number32(FrameType.WindowUpdate, 0, 1)),
        First(Ours.Server, "GOAWAY", Frame.GoAway(0, NoError)),
        First(Ours.Server, "a frame of unknown type", Frame.Of((FrameType)0xEE, None, 0)),
        First(Ours.Server, "an acknowledgement of SETTINGS", Frame.Of(FrameType.Settings, Ack, 0)),
        First(Ours.Client, "PING", Ping),
        First(Ours.Client, "HEADERS", Frame.Headers(1, EndHeaders, (":status", "200"))),
        First(Ours.Client, "GOAWAY", Frame.GoAway(0, NoError)),
        First(Ours.Client, "a frame of unknown type", Frame.Of((FrameType)0xEE, None, 0)),
        First(Ours.Client, "an acknowledgement of SETTINGS", Frame.Of(FrameType.Settings, Ack, 0)),
        First(Ours.Client, "a response of HTTP/1.1", "HTTP/1.1 400 Bad Request\r\n\r\n"u8),
        new("3.4", "no word before we have spoken", "A server's preface is a SETTINGS frame, the first that it sends; it need not wait for the client's.", Nothing, null, Story(async stage =>
        {
            var first = await stage.Peer.NextAsync();
            Assert.Equal((FrameType.Settings, None, 0), (first.Type, first.Header.Flags, first.StreamId));
        })),
        new("3.4", "an empty SETTINGS", TheFirstFrameIsSettings, Nothing, null, Story(async stage =>
        {
            await stage.Peer.SendAsync([.. PrefaceTo(stage.Ours), .. Frame.Settings()]);
            await stage.Peer.Connection.Ready.InTime();
            await stage.LivesAsync();
        })),
        new("3.4", "its preface octet by octet", "The preface is a sequence of octets; in what pieces they come does not matter.", Nothing, null, Story(async stage =>
        {
            foreach (var octet in (byte[])[.. PrefaceTo(stage.Ours), .. Frame.Setting(Http2Setting.InitialWindowSize, 100)])
            {
                await stage.Peer.SendAsync(octet);
            }

            await stage.Peer.Connection.Ready.InTime();
            await stage.LivesAsync();
        })),
        new("3.4", "a request behind its preface at once", "To avoid latency, clients may send further frames behind the preface without waiting for the server's.", Nothing, null, Story(async stage =>
        {
            await stage.Peer.SendAsync([.. Http2Peer.Preface, .. Frame.Settings(), .. Frame.Connect(1)]);
            await stage.AcceptAsync(await stage.Peer.Requests.Reader.ReadAsync().InTime());
            await stage.LivesAsync();
        })) { Only = Ours.Server },
        new("3.4", "its SETTINGS", "The SETTINGS received as part of the preface MUST be acknowledged, behind our own preface.", Nothing, null, Story(async stage =>
        {
            await stage.Peer.SendAsync([.. PrefaceTo(stage.Ours), .. Frame.Setting(Http2Setting.MaxConcurrentStreams, 100)]);
            Assert.False((await stage.Peer.ExpectAsync(FrameType.Settings, 0)).Header.Has(Ack));
            Assert.True((await stage.Peer.ExpectAsync(FrameType.Settings, 0)).Header.Has(Ack));
            await stage.LivesAsync();
        })),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static byte[] PrefaceTo(Ours ours) => ours is Ours.Server ? Http2Peer.Preface : [];

    private static ConformanceCase Wrong(string name, params ReadOnlySpan<byte> beginning) =>
        new("3.4", name, AServerIsSpokenToInHttp2, Nothing, beginning.ToArray(), ConnectionError(ProtocolError)) { Only = Ours.Server };

    private static ConformanceCase First(Ours ours, string name, ReadOnlySpan<byte> frame) =>
        new("3.4", $"{name} as its first frame", TheFirstFrameIsSettings, Nothing, [.. PrefaceTo(ours), .. frame], ConnectionError(ProtocolError)) { Only = ours };
}
