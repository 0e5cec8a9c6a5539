using Mesh.Hbone.Http2;
using Xunit.Abstractions;
using static Mesh.Hbone.Http2.FrameFlags;

namespace Mesh.Hbone.Attacks;

/// <summary>Floods of frames against a listener: each is cut off by its code, in bounded memory, and nobody else notices.</summary>
[Collection(AttackGroup.Name)]
public sealed class ServerFloodTests(ITestOutputHelper output)
{
    // More than any flood needs to be cut off, in frames or pairs of them.
    private const int Many = 20_000;

    // About a TLS record's worth.
    private const int WaveSize = 16 * 1024;

    private static readonly byte[] Ping = Frame.Of(FrameType.Ping, None, 0, new byte[8]);
    private static readonly byte[] PingAck = Frame.Of(FrameType.Ping, Ack, 0, new byte[8]);
    private static readonly byte[] SettingsAck = Frame.Of(FrameType.Settings, Ack, 0);

    /// <summary>A flood: what opens it, what it repeats (given a number that counts up), and the code that ends it.</summary>
    private sealed record Flood(Func<int, byte[]> Repeated, Http2ErrorCode End)
    {
        /// <summary>Another code that may end it, where it depends on how far the victim is with what came before.</summary>
        public Http2ErrorCode? OrEnd { get; init; }

        public byte[] Opening { get; init; } = [];

        public bool Reads { get; init; } = true;

        public int Count { get; init; } = Many;

        // In writes of about a TLS record.
        public IEnumerable<byte[]> Waves()
        {
            var wave = new List<byte>(Opening);
            for (var i = 0; i < Count; i++)
            {
                wave.AddRange(Repeated(i));
                if (wave.Count >= WaveSize)
                {
                    yield return wave.ToArray();
                    wave.Clear();
                }
            }

            yield return wave.ToArray();
        }
    }

    private static readonly Dictionary<string, Flood> Floods = new()
    {
        ["rapid reset, CVE-2023-44487"] = Calm(i => [.. Frame.Connect(Id(i)), .. Reset(Id(i))]),
        ["rapid reset, with data before it"] = Calm(i => [.. Frame.Connect(Id(i)), .. Data(Id(i), 100), .. Reset(Id(i))]),
        ["rapid reset of streams that are half closed"] = Calm(i => [.. Frame.Connect(Id(i), EndStream), .. Reset(Id(i))]),
        ["requests over the limit of streams"] = Calm(i => Frame.Connect(Id(i))),
        ["RST_STREAM for a stream that has ended"] = Calm(_ => Reset(1)) with { Opening = [.. Frame.Connect(1), .. Reset(1)] },

        ["CONTINUATION without end, CVE-2024-27316"] = Calm(_ => Frame.Of(FrameType.Continuation, None, 1, new byte[1024])) with { Opening = OpenBlock() },
        ["CONTINUATION of one octet"] = Calm(_ => Frame.Of(FrameType.Continuation, None, 1, 0x82)) with { Opening = OpenBlock(), Count = 100_000 },
        ["CONTINUATION of nothing"] = Calm(_ => Frame.Of(FrameType.Continuation, None, 1)) with { Opening = OpenBlock() },

        ["SETTINGS of nothing"] = Calm(_ => Frame.Settings()),
        ["SETTINGS of two thousand values"] = Calm(_ => Frame.Settings([.. Enumerable.Repeat((Http2Setting.HeaderTableSize, 0u), 2_000)])) with { Count = 2_000 },
        ["SETTINGS that move the windows of two hundred streams"] = Calm(i => Frame.Setting(Http2Setting.InitialWindowSize, i % 2 == 0 ? 0u : 100_000u)) with { Opening = Open(200) },
        ["SETTINGS, the answers not read"] = Calm(_ => Frame.Settings()) with { Reads = false },
        ["PING"] = Calm(_ => Ping),
        ["PING, the answers not read"] = Calm(_ => Ping) with { Reads = false },
        ["PING acknowledgements that nobody asked for"] = Calm(_ => PingAck),
        ["PRIORITY"] = Calm(i => Frame.Of(FrameType.Priority, None, Id(i), new byte[5])),
        ["PRIORITY that changes one stream"] = Calm(_ => Frame.Of(FrameType.Priority, None, 1, 0, 0, 0, 3, 255)) with { Opening = Open(2) },
        ["frames of unknown type"] = Calm(i => Frame.Of((FrameType)(0x10 + (i % 0xE0)), (FrameFlags)0xFF, i, new byte[20])),
        ["DATA of nothing"] = Calm(_ => Frame.Of(FrameType.Data, None, 1)) with { Opening = Open(1) },
        ["WINDOW_UPDATE by 1 of a stream"] = Calm(_ => WindowUpdate(1, 1)) with { Opening = Open(1) },
        ["WINDOW_UPDATE by 1 of the connection"] = Calm(_ => WindowUpdate(0, 1)),
        ["WINDOW_UPDATE by 1 of a stream that has ended"] = Calm(_ => WindowUpdate(1, 1)) with { Opening = [.. Frame.Connect(1), .. Reset(1)] },
        ["WINDOW_UPDATE by 1 against a window of nothing, so that each answer is one octet"] =
            Calm(_ => WindowUpdate(1, 1)) with { Opening = [.. Frame.Setting(Http2Setting.InitialWindowSize, 0), .. Open(1), .. Data(1, 64 * 1024)] },
        ["HEADERS for a stream that has ended"] =
            Calm(_ => Frame.Headers(1, EndHeaders | EndStream, ("x-a", "b"))) with { Opening = [.. Frame.Connect(1), .. Reset(1)] },

        ["made you reset by WINDOW_UPDATE of nothing, CVE-2025-8671"] = Calm(i => [.. Frame.Connect(Id(i)), .. WindowUpdate(Id(i), 0)]),
        ["made you reset by WINDOW_UPDATE of too much"] = Calm(i => [.. Frame.Connect(Id(i)), .. WindowUpdate(Id(i), int.MaxValue)]),
        ["made you reset by trailers without an end"] = Calm(i => [.. Frame.Connect(Id(i)), .. Frame.Headers(Id(i), EndHeaders, ("x-a", "b"))]),
        ["made you reset by trailers with pseudo-headers"] = Calm(i => [.. Frame.Connect(Id(i)), .. Frame.Headers(Id(i), EndHeaders | EndStream, (":path", "/"))]) with { OrEnd = Http2ErrorCode.ProtocolError },
        ["made you reset by trailers with upper case"] = Calm(i => [.. Frame.Connect(Id(i)), .. Frame.Headers(Id(i), EndHeaders | EndStream, ("X-A", "b"))]),
        ["made you reset by a request without an authority"] = Calm(i => Frame.Headers(Id(i), EndHeaders, (":method", "CONNECT"))),
        ["made you reset by a request with upper case"] = Calm(i => Frame.Headers(Id(i), EndHeaders, (":method", "CONNECT"), (":authority", "a:1"), ("X", ""))),
        ["made you reset by WINDOW_UPDATE of nothing, half closed"] = Calm(i => [.. Frame.Connect(Id(i), EndStream), .. WindowUpdate(Id(i), 0)]),
        ["DATA behind the end"] = new(_ => [.. Frame.Connect(1, EndStream), .. Data(1, 1)], Http2ErrorCode.StreamClosed) { Count = 1 },
        ["HEADERS behind the end"] = new(_ => [.. Frame.Connect(1, EndStream), .. Frame.Headers(1, EndHeaders | EndStream, ("x-a", "b"))], Http2ErrorCode.StreamClosed) { Count = 1 },
        ["DATA on a stream that nobody opened"] = new(_ => Data(7, 1), Http2ErrorCode.ProtocolError) { Count = 1 },
        ["PRIORITY of the wrong size"] = new(_ => Frame.Of(FrameType.Priority, None, 1, new byte[4]), Http2ErrorCode.FrameSizeError) { Count = 1 },
        ["PUSH_PROMISE"] = new(_ => Frame.Of(FrameType.PushPromise, EndHeaders, 1, 0, 0, 0, 2), Http2ErrorCode.ProtocolError) { Opening = Open(1), Count = 1 },

        ["HPACK: one large entry, named sixty thousand times"] =
            Calm(i => Frame.Of(FrameType.Headers, EndHeaders, Id(i + 1), [.. Filled(60_000, 0xBE)])) with { Opening = Frame.Headers(1, EndHeaders, (":method", "CONNECT"), (":authority", "a:1"), ("x-bomb", new string('~', 4_000))), Count = 1_000 },
        ["HPACK: Huffman that grows by more than half"] = Calm(i => Frame.Of(FrameType.Headers, EndHeaders, Id(i), [.. Literal(huffman: true, Filled(60_000, 0))])) with { Count = 1_000 },
        ["HPACK: entries that push each other out"] =
            Calm(i => Frame.Of(FrameType.Headers, EndHeaders, Id(i), [.. Enumerable.Range(0, 16).SelectMany(_ => Literal(huffman: false, Filled(4_000, (byte)'a'), 0x40))])) with { Count = 1_000 },
        ["HPACK: a thousand size updates"] = Calm(i => Frame.Of(FrameType.Headers, EndHeaders, Id(i), Filled(60_000, 0x20))) with { Count = 1_000 },
        ["HPACK: a list over the limit"] = Calm(i => Frame.Of(FrameType.Headers, EndHeaders, Id(i), [.. Literal(huffman: false, Filled(66_000, (byte)'a'))])) with { Count = 1_000 },
        ["HPACK: a table larger than announced"] = Compression(0x3F, 0xFF, 0xFF, 0x7F),
        ["HPACK: an index that is in no table"] = Compression(0xFF, 0x80, 0x01),
        ["HPACK: an integer without end"] = Compression([0xFF, .. Filled(1_000, 0x80)]),
        ["HPACK: a string longer than its block"] = Compression(0x00, 0x7F, 0xFF, 0xFF, 0xFF, 0x07),
        ["HPACK: Huffman with the end-of-string symbol"] = Compression(Literal(huffman: true, Filled(100, 0xFF))),

        ["a frame larger than allowed"] = new(_ => new byte[] { 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1 }, Http2ErrorCode.FrameSizeError) { Opening = Open(1), Count = 1 },
        ["SETTINGS larger than is read whole"] = new(_ => new byte[] { 0x01, 0, 0, 4, 0, 0, 0, 0, 0 }, Http2ErrorCode.FrameSizeError) { Count = 1 },
        ["a header block in one frame over the limit"] = Calm(_ => new byte[] { 0x02, 0, 0, 1, 4, 0, 0, 0, 1 }) with { Count = 1 },
        ["WINDOW_UPDATE of the connection by too much"] = new(_ => WindowUpdate(0, int.MaxValue), Http2ErrorCode.FlowControlError) { Count = 1 },
        ["SETTINGS that make a window too large"] =
            new(_ => Frame.Setting(Http2Setting.InitialWindowSize, int.MaxValue), Http2ErrorCode.FlowControlError) { Opening = [.. Open(1), .. WindowUpdate(1, 100)], Count = 1 },
        ["more DATA than the window of a stream"] = new(_ => Data(1, WaveSize), Http2ErrorCode.FlowControlError) { Opening = Undecided(1), Count = 1_000 },
        ["more DATA than the window of the connection"] = new(i => Data(Id(i % 8), WaveSize), Http2ErrorCode.FlowControlError) { Opening = Undecided(8), Count = 4_000 },
    };

    // Cut off they should be, and are not: what src does is beside each.
    private static readonly Dictionary<string, Flood> Borne = new()
    {
        // OnSettings returns for ACK before it charges.
        ["SETTINGS acknowledgements that nobody asked for"] = Calm(_ => SettingsAck),

        // OnGoAway charges nothing, and writes a line to the log for each.
        ["GOAWAY"] = Calm(_ => Frame.GoAway(0, Http2ErrorCode.NoError)) with { Opening = Undecided(1) },

        // BeginData charges what has no length; the pad length is one, and padding even funds.
        ["DATA of nothing but a pad length"] = Calm(_ => Frame.Of(FrameType.Data, Padded, 1, 0)) with { Opening = Undecided(1) },

        // AdmitData answers null without a charge for a stream that has ended, and BeginData leaves the end of a stream out.
        ["DATA that ends a stream that has ended"] = Calm(_ => Frame.Of(FrameType.Data, EndStream, 1)) with { Opening = [.. Frame.Connect(1), .. Reset(1)] },
        ["DATA of one octet for a stream that has ended"] = Calm(_ => Data(1, 1)) with { Opening = [.. Frame.Connect(1), .. Reset(1)] },
    };

    public static TheoryData<string> Names => [.. Floods.Keys];

    public static TheoryData<string> NamesOfBorne => [.. Borne.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public Task A_flood_is_cut_off_and_nobody_else_notices(string name) => CheckAsync(Floods[name]);

    [Theory]
    [MemberData(nameof(NamesOfBorne))]
    public Task A_flood_that_costs_nothing_is_cut_off(string name) => CheckAsync(Borne[name]);

    private async Task CheckAsync(Flood flood)
    {
        await using var siege = await Siege.BeginAsync(output, accepts: request => !request.Authority.StartsWith("undecided", StringComparison.Ordinal));

        // Sixteen mebioctets of window are the most that a connection can leave with us.
        await siege.RunAsync(flood.End is Http2ErrorCode.FlowControlError ? 3 * 16 * Siege.Mebi : 0, async height =>
        {
            await using var attacker = await siege.ConnectHttp2Async();
            var outcome = await attacker.AttackAsync(flood.Waves(), flood.Reads);
            siege.Say(outcome.ToString());
            Assert.False(outcome.Borne, outcome.ToString());

            // Who does not read may find the GOAWAY gone with the connection.
            if (flood.Reads || outcome.GoAway is not null)
            {
                Assert.Equal(outcome.GoAway == flood.OrEnd ? flood.OrEnd : flood.End, outcome.GoAway);
            }

            await height();
            while (siege.Undecided.TryDequeue(out var request))
            {
                request.Dispose();
            }
        });
    }

    private static Flood Calm(Func<int, byte[]> repeated) => new(repeated, Http2ErrorCode.EnhanceYourCalm);

    private static Flood Compression(params byte[] block) => new(_ => Frame.Of(FrameType.Headers, EndHeaders, 1, block), Http2ErrorCode.CompressionError) { Count = 1 };

    private static int Id(int number) => (2 * number) + 1;

    private static byte[] Reset(int stream) => Frame.Number32(FrameType.RstStream, stream, (uint)Http2ErrorCode.Cancel);

    private static byte[] WindowUpdate(int stream, int increment) => Frame.Number32(FrameType.WindowUpdate, stream, (uint)increment);

    private static byte[] Data(int stream, int count) => Frame.Of(FrameType.Data, None, stream, new byte[count]);

    private static byte[] Filled(int count, byte octet)
    {
        var octets = new byte[count];
        octets.AsSpan().Fill(octet);
        return octets;
    }

    private static byte[] Open(int streams) => [.. Enumerable.Range(0, streams).SelectMany(i => Frame.Connect(Id(i)))];

    // The application leaves these lying about, so that nothing of what they carry is read.
    private static byte[] Undecided(int streams) =>
        [.. Enumerable.Range(0, streams).SelectMany(i => Frame.Headers(Id(i), EndHeaders, (":method", "CONNECT"), (":authority", "undecided:1")))];

    private static byte[] OpenBlock() => Frame.Of(FrameType.Headers, None, 1, Frame.Block((":method", "CONNECT"), (":authority", "a:1")));

    // A literal field "x" with a value of so many octets.
    private static byte[] Literal(bool huffman, byte[] value, byte kind = 0)
    {
        var length = new List<byte> { (byte)((huffman ? 0x80 : 0) | 0x7F) };
        for (var left = value.Length - 0x7F; ; left >>= 7)
        {
            if (left < 0x80)
            {
                length.Add((byte)left);
                break;
            }

            length.Add((byte)((left & 0x7F) | 0x80));
        }

        return value.Length < 0x7F
            ? [kind, 1, (byte)'x', (byte)((huffman ? 0x80 : 0) | value.Length), .. value]
            : [kind, 1, (byte)'x', .. length, .. value];
    }
}
