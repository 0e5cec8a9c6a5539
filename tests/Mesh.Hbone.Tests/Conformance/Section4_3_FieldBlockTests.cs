using Mesh.Hbone.Http2;
using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 4.3: field blocks are one unit, and every one is decoded.</summary>
public sealed class Section4_3_FieldBlockTests
{
    private const string DecodingErrors = "A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR.";
    private const string Contiguous = "A field block is sent as a contiguous sequence of frames, with no frames of another type or another stream between: a connection error of type PROTOCOL_ERROR.";
    private const string DecodedAllTheSame = "Field blocks are decoded even when they are to be discarded, for they change the compression state of the connection.";
    private const string SmallerTable = "When the peer has made the table smaller, the next field block MUST begin with a size update to no more than that (RFC 7541, section 4.2).";

    // Literal, added to the table: a: b. Then the entry that this makes.
    private const string AddsAnEntry = "4001610162";
    private const byte TheEntry = 0xBE;

    private static readonly ConformanceTable Cases =
    [
        new("4.3", "a block with an index that is in no table", DecodingErrors, Tunnel, Frame.Of(FrameType.Headers, EndHeaders, 1, 0xFE), ConnectionError(CompressionError)),
        new("4.3", "a block that ends within a string", DecodingErrors, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | EndStream, 1, 0x00, 0x05, 0x61), ConnectionError(CompressionError)),
        new("4.3", "a block that ends behind a name", DecodingErrors, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | EndStream, 1, 0x00, 0x01, 0x61), ConnectionError(CompressionError)),
        new("4.3", "a wrong block on a stream that we have reset", DecodingErrors, WeReset, Frame.Of(FrameType.Headers, EndHeaders | EndStream, 1, 0xFE), ConnectionError(CompressionError)),
        new("4.3", "a wrong block on a stream that the peer has reset", DecodingErrors, PeerReset, Frame.Of(FrameType.Headers, EndHeaders | EndStream, 1, 0xFE), ConnectionError(CompressionError)),
        new("4.3", "a wrong block in two pieces", DecodingErrors, Tunnel, [.. Frame.Of(FrameType.Headers, None, 1, 0x00, 0x05), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, 0x61)], ConnectionError(CompressionError)),
        new("4.3", "a wrong block on a new stream", DecodingErrors, Prefaces, Frame.Of(FrameType.Headers, EndHeaders, 1, 0xFE), ConnectionError(CompressionError)) { Only = Ours.Server },
        Within("DATA of the stream", Frame.Of(FrameType.Data, None, 1, 1)),
        Within("DATA of another stream", Frame.Of(FrameType.Data, None, 3, 1)),
        Within("HEADERS of the stream", Frame.Of(FrameType.Headers, EndHeaders, 1)),
        Within("HEADERS of another stream", Frame.Of(FrameType.Headers, EndHeaders, 3)),
        Within("PRIORITY", Frame.Of(FrameType.Priority, None, 1, new byte[5])),
        Within("RST_STREAM", Frame.Number32(FrameType.RstStream, 1, 8)),
        Within("SETTINGS", Frame.Settings()),
        Within("PUSH_PROMISE", Frame.Of(FrameType.PushPromise, EndHeaders, 1, 0, 0, 0, 2)),
        Within("PING", Frame.Of(FrameType.Ping, None, 0, new byte[8])),
        Within("GOAWAY", Frame.GoAway(0, NoError)),
        Within("WINDOW_UPDATE", Frame.Number32(FrameType.WindowUpdate, 0, 1)),
        Within("CONTINUATION of another stream", Frame.Of(FrameType.Continuation, EndHeaders, 3)),
        Within("CONTINUATION for the connection", Frame.Of(FrameType.Continuation, EndHeaders, 0)),
        new("4.3", "an entry in the trailers of a stream that we have reset", DecodedAllTheSame, WeReset, Block(1, EndStream, AddsAnEntry), Story(ExpectTheEntryAsync)),
        new("4.3", "an entry in a malformed message", DecodedAllTheSame, Requested, Block(1, None, AddsAnEntry), Story(async stage =>
        {
            await stage.Peer.ExpectResetAsync(1, ProtocolError);
            await ExpectTheEntryAsync(stage);
        })),
        new("4.3", "an entry in a malformed request", DecodedAllTheSame, Prefaces, Block(1, EndStream, AddsAnEntry), Story(async stage =>
        {
            await stage.Peer.ExpectResetAsync(1, ProtocolError);
            await ExpectTheEntryAsync(stage);
        })) { Only = Ours.Server },
        new("4.3", "an entry in a request over the limit of streams", DecodedAllTheSame, Tunnel, null, Story(async stage =>
        {
            await stage.Peer.SendAsync(Block(3, None, Request + AddsAnEntry));
            await stage.Peer.ExpectResetAsync(3, RefusedStream);
            stage.Stream!.Release();
            Assert.True((await stage.Peer.ExpectAsync(FrameType.Data, 1)).EndsStream);
            await stage.Peer.ExpectResetAsync(1, NoError);
            await ExpectTheEntryAsync(stage);
        })) { Only = Ours.Server, Options = OneStream() },
        new("4.3", "a block that is cut within an integer and a string", "A field block is reassembled from its fragments, wherever they are cut.", Requested, null, Story(async stage =>
        {
            var octets = Convert.FromHexString(Answer + "0003616263" + "03646566");
            await stage.Peer.SendAsync(FrameType.Headers, None, 1, octets[..1]);
            foreach (var octet in octets[1..])
            {
                await stage.Peer.SendAsync(FrameType.Continuation, None, 1, octet);
            }

            await stage.Peer.SendAsync(FrameType.Continuation, EndHeaders, 1);
            Assert.Equal([new(":status", "200"), new HeaderField("abc", "def")], await stage.Stream!.Response.Task.InTime());
            await stage.LivesAsync();
        })) { Only = Ours.Client },
        new("4.3.1", "SETTINGS_HEADER_TABLE_SIZE of 0", SmallerTable, Prefaces, null, Story(async stage =>
        {
            Assert.Equal(0x20, (await OurBlockAsync(stage, 1))[0]);
            Assert.NotEqual(0x20, (await OurBlockAsync(stage, 3))[0]);
        })) { Settings = [(Http2Setting.HeaderTableSize, 0)] },
        new("4.3.1", "SETTINGS_HEADER_TABLE_SIZE of 100", SmallerTable, Prefaces, null, Story(async stage =>
        {
            Assert.Equal([0x3F, 100 - 31], (await OurBlockAsync(stage, 1))[..2]);
        })) { Settings = [(Http2Setting.HeaderTableSize, 100)] },
        new("4.3.1", "SETTINGS_HEADER_TABLE_SIZE of 0 when we have used it", SmallerTable, Tunnel, Frame.Setting(Http2Setting.HeaderTableSize, 0), Story(async stage =>
        {
            Assert.True((await stage.Peer.ExpectAsync(FrameType.Settings, 0)).Header.Has(Ack));
            Assert.Equal(0x20, (await OurBlockAsync(stage, 3))[0]);
        })),
        new("4.3.1", "SETTINGS_HEADER_TABLE_SIZE of 0 and then 4096", "When the size changes twice between two blocks, the smallest is announced before the last (RFC 7541, section 4.2).", Tunnel, [.. Frame.Setting(Http2Setting.HeaderTableSize, 0), .. Frame.Setting(Http2Setting.HeaderTableSize, 4096)], Story(async stage =>
        {
            await stage.Peer.PingPongAsync();
            Assert.Equal([0x20, 0x3F, 0xE1, 0x1F], (await OurBlockAsync(stage, 3))[..4]);
        })),
        new("4.3.1", "SETTINGS_HEADER_TABLE_SIZE of 2^32-1", "The encoder may use any size up to what was announced; it need not use it.", Prefaces, null, Story(stage => stage.LivesAsync())) { Settings = [(Http2Setting.HeaderTableSize, uint.MaxValue)] },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    // :method: CONNECT and :authority: a:1, kept out of the table; :status: 200 of the static one.
    private static string Request => "0207434f4e4e4543540103613a31";

    private static string Answer => "88";

    private static byte[] Block(int stream, FrameFlags flags, string block) => Frame.Of(FrameType.Headers, EndHeaders | flags, stream, Convert.FromHexString(block));

    private static ConformanceCase Within(string name, byte[] frame) =>
        new("4.3", $"{name} within a field block", Contiguous, Tunnel, [.. Frame.Of(FrameType.Headers, EndStream, 1, 0x00), .. frame], ConnectionError(ProtocolError));

    private static HboneOptions OneStream()
    {
        var options = Http2Peer.SmallOptions();
        options.MaxConcurrentStreams = 1;
        return options;
    }

    private static async Task ExpectTheEntryAsync(Stage stage)
    {
        if (stage.Ours is Ours.Server)
        {
            await stage.Peer.SendAsync(FrameType.Headers, EndHeaders, 5, [.. Convert.FromHexString(Request), TheEntry]);
            Http2Stream request;
            do
            {
                request = await stage.Peer.Requests.Reader.ReadAsync().InTime();
            }
            while (request.Id != 5);
            Assert.Equal(new HeaderField("a", "b"), request.RequestHeaders![^1]);
            return;
        }

        var stream = await stage.RequestAsync(3);
        await stage.Peer.SendAsync(FrameType.Headers, EndHeaders, 3, [.. Convert.FromHexString(Answer), TheEntry]);
        Assert.Equal(new HeaderField("a", "b"), (await stream.Response.Task.InTime())[^1]);
    }

    private static async Task<byte[]> OurBlockAsync(Stage stage, int id)
    {
        if (stage.Ours is Ours.Server)
        {
            var request = await stage.Peer.OpenAsync(id);
            stage.Peer.Connection.Respond(request, [new(":status", "200"), new("c", "d")], endStream: false);
        }
        else
        {
            stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1"), new("c", "d")], 100);
        }

        return (await stage.Peer.ExpectAsync(FrameType.Headers, id)).Payload;
    }
}
