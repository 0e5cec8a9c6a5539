using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 4.2: how large a frame may be.</summary>
public sealed class Section4_2_FrameSizeTests
{
    private const int Smallest = 16_384;
    private const int Filling = 16_363;
    private const string OverTheAnnouncedSize = "An endpoint MUST send FRAME_SIZE_ERROR if a frame exceeds the size that it has announced; where the frame can alter the state of the connection that is a connection error, and we treat it so for all (section 5.4.1).";
    private const string FramesOf16384 = "All implementations MUST be capable of receiving and minimally processing frames up to 2^14 octets.";
    private const string TooSmall = "A frame too small for its mandatory fields is an error of its size; a generic code can always be used in place of a specific one (section 5.4), and we send PROTOCOL_ERROR.";
    private const string OurFrames = "Frames larger than 2^14 octets MUST NOT be sent unless the receiver has announced a larger SETTINGS_MAX_FRAME_SIZE.";
    private static readonly string Long = new('~', 40_000);

    private static readonly ConformanceTable Cases =
    [
        Over("DATA", Frame.Of(FrameType.Data, None, 1, new byte[Smallest + 1])),
        Over("HEADERS", Frame.Of(FrameType.Headers, EndHeaders, 1, new byte[Smallest + 1])),
        Over("CONTINUATION", [.. Frame.Of(FrameType.Headers, None, 1, 0x88), .. Frame.Of(FrameType.Continuation, EndHeaders, 1, new byte[Smallest + 1])]),
        Over("SETTINGS", Frame.Of(FrameType.Settings, None, 0, new byte[Smallest + 2])),
        Over("GOAWAY", Frame.Of(FrameType.GoAway, None, 0, new byte[Smallest + 1])),
        Over("PRIORITY", Frame.Of(FrameType.Priority, None, 1, new byte[Smallest + 1])),
        Over("a frame of unknown type", Frame.Of((FrameType)0xEE, None, 0, new byte[Smallest + 1])),
        new("4.2", "the header of a frame of 2^24-1 octets", OverTheAnnouncedSize, Tunnel, [0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1], ConnectionError(FrameSizeError)),
        new("4.2", "DATA of 2^14 octets", FramesOf16384, Tunnel, Frame.Of(FrameType.Data, EndStream, 1, new byte[Smallest]), Story(async stage =>
        {
            Assert.Equal(Smallest, (await stage.Stream!.Input.SumAsync().InTime()).Count);
            await stage.LivesAsync();
        })) { Options = Strict() },
        new("4.2", "DATA of the announced size", "A frame may be as large as announced.", Tunnel, Frame.Of(FrameType.Data, EndStream, 1, new byte[32_768]), Story(async stage =>
        {
            Assert.Equal(32_768, (await stage.Stream!.Input.SumAsync().InTime()).Count);
            await stage.LivesAsync();
        })) { Options = Strict(32_768) },
        new("4.2", "HEADERS of 2^14 octets", FramesOf16384, Prefaces, HeadersOf16384(), HandedOut(1, (":method", "CONNECT"), (":authority", "a:1"), ("a", new string('~', Filling)))) { Only = Ours.Server, Options = new HboneOptions() },
        new("4.2", "SETTINGS of almost 2^14 octets", FramesOf16384, Tunnel, Frame.Of(FrameType.Settings, None, 0, [.. Enumerable.Repeat((byte[])[0x77, 0x77, 0, 0, 0, 1], 2730).SelectMany(setting => setting)]), Answered(Frame.Of(FrameType.Settings, Ack, 0))),
        new("4.2", "GOAWAY of 2^14 octets", FramesOf16384, Tunnel, Frame.Of(FrameType.GoAway, None, 0, [0x7F, 0xFF, 0xFF, 0xFF, .. new byte[Smallest - 4]]), Story(stage => stage.UseAsync(stage.Stream!))),
        new("4.2", "padded DATA without a pad length", TooSmall, Tunnel, Frame.Of(FrameType.Data, Padded, 1), ConnectionError(ProtocolError)),
        new("4.2", "padded HEADERS without a pad length", TooSmall, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | Padded, 1), ConnectionError(ProtocolError)),
        new("4.2", "HEADERS too short for their priority", TooSmall, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | FrameFlags.Priority, 1, new byte[4]), ConnectionError(ProtocolError)),
        new("4.2", "padded HEADERS too short for their priority", TooSmall, Tunnel, Frame.Of(FrameType.Headers, EndHeaders | Padded | FrameFlags.Priority, 1, new byte[5]), ConnectionError(ProtocolError)),
        new("4.2", "nothing, and we send much", OurFrames, Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.WriteAsync(new byte[60_000]).InTime();
            Assert.InRange(await LargestAsync(stage, 60_000), 1, Smallest);
            await stage.LivesAsync();
        })),
        new("4.2", "a larger SETTINGS_MAX_FRAME_SIZE, and we send much", "Frames are never larger than announced; we may use less.", Tunnel, null, Story(async stage =>
        {
            await stage.Stream!.Output.WriteAsync(new byte[60_000]).InTime();
            Assert.InRange(await LargestAsync(stage, 60_000), 1, 20_000);
            await stage.LivesAsync();
        })) { Settings = [(Http2Setting.MaxFrameSize, 20_000)] },
        new("4.2", "a request, and our answer has a field of 40,000 octets", "A field block that does not fit a frame goes on in CONTINUATION (section 6.10), none of them over 2^14 octets.", Requested, null, Story(async stage =>
        {
            stage.Peer.Connection.Respond(stage.Stream!, [new(":status", "200"), new("a", Long)], endStream: false);
            var block = await ExpectBlockAsync(stage);
            Assert.Equal($":status: 200, a: {Long}", stage.Peer.Describe(block));
        })) { Only = Ours.Server },
        new("4.2", "nothing, and our request has a field of 40,000 octets", "A field block that does not fit a frame goes on in CONTINUATION (section 6.10), none of them over 2^14 octets.", Prefaces, null, Story(async stage =>
        {
            stage.Peer.Connection.OpenStream([new(":method", "CONNECT"), new(":authority", "a:1"), new("a", Long)], 100);
            var block = await ExpectBlockAsync(stage);
            Assert.Equal($":method: CONNECT, :authority: a:1, a: {Long}", stage.Peer.Describe(block));
        })) { Only = Ours.Client },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static HboneOptions Strict(int maxFrameSize = Smallest)
    {
        var options = Http2Peer.SmallOptions();
        options.MaxFrameSize = maxFrameSize;
        return options;
    }

    private static ConformanceCase Over(string name, byte[] frames) =>
        new("4.2", $"{name} of more octets than announced", OverTheAnnouncedSize, Tunnel, frames, ConnectionError(FrameSizeError)) { Options = Strict() };

    // The filling has a length of four octets: 127, and the rest in three. Neither it nor its name is Huffman-coded.
    private static byte[] HeadersOf16384()
    {
        const int Rest = Filling - 127;
        byte[] field = [0, 1, (byte)'a', 0x7F, 0x80 | (Rest & 0x7F), (byte)(0x80 | (Rest >> 7)), Rest >> 14, .. Enumerable.Repeat((byte)'~', Filling)];
        byte[] block = [.. Frame.Block((":method", "CONNECT"), (":authority", "a:1")), .. field];
        Assert.Equal(Smallest, block.Length);
        return Frame.Of(FrameType.Headers, EndHeaders, 1, block);
    }

    private static async Task<int> LargestAsync(Stage stage, int total)
    {
        var largest = 0;
        while (total > 0)
        {
            var frame = await stage.Peer.ExpectAsync(FrameType.Data, 1);
            largest = Math.Max(largest, frame.Payload.Length);
            total -= frame.Payload.Length;
        }

        return largest;
    }

    private static async Task<Frame> ExpectBlockAsync(Stage stage)
    {
        var frame = await stage.Peer.ExpectAsync(FrameType.Headers, 1);
        var block = frame.Payload.ToList();
        Assert.InRange(frame.Payload.Length, 1, Smallest);
        while (!frame.Header.Has(EndHeaders))
        {
            frame = await stage.Peer.NextAsync();
            Assert.Equal((FrameType.Continuation, 1), (frame.Type, frame.StreamId));
            Assert.InRange(frame.Payload.Length, 1, Smallest);
            block.AddRange(frame.Payload);
        }

        return frame with { Payload = [.. block] };
    }
}
