using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Threading.Channels;
using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit.Sdk;

namespace Mesh.Hbone.Http2;

/// <summary>A frame as it was on the wire.</summary>
internal sealed record Frame(FrameHeader Header, byte[] Payload)
{
    public FrameType Type => Header.Type;

    public int StreamId => Header.StreamId;

    public bool EndsStream => Header.Has(FrameFlags.EndStream);

    /// <summary>The code of RST_STREAM or GOAWAY.</summary>
    public Http2ErrorCode Code => (Http2ErrorCode)BinaryPrimitives.ReadInt32BigEndian(Payload.AsSpan(Type is FrameType.GoAway ? 4 : 0));

    /// <summary>The last stream of GOAWAY, or the increment of WINDOW_UPDATE.</summary>
    public int Number => BinaryPrimitives.ReadInt32BigEndian(Payload);

    public static byte[] Of(FrameType type, FrameFlags flags, int stream, params ReadOnlySpan<byte> payload)
    {
        var frame = new byte[FrameHeader.Size + payload.Length];
        new FrameHeader(payload.Length, type, flags, stream).Write(frame);
        payload.CopyTo(frame.AsSpan(FrameHeader.Size));
        return frame;
    }

    public static byte[] Settings(params ReadOnlySpan<(Http2Setting Id, uint Value)> settings)
    {
        var output = new ArrayBufferWriter<byte>();
        FrameWriter.WriteSettings(output, settings);
        return output.WrittenSpan.ToArray();
    }

    public static byte[] Setting(Http2Setting id, uint value) => Settings((id, value));

    public static byte[] Number32(FrameType type, int stream, uint value)
    {
        var payload = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(payload, value);
        return Of(type, FrameFlags.None, stream, payload);
    }

    public static byte[] GoAway(int lastStream, Http2ErrorCode code)
    {
        var output = new ArrayBufferWriter<byte>();
        FrameWriter.WriteGoAway(output, lastStream, code);
        return output.WrittenSpan.ToArray();
    }

    /// <summary>HEADERS whose block needs no table of earlier blocks.</summary>
    public static byte[] Headers(int stream, FrameFlags flags, params IEnumerable<(string Name, string Value)> fields) => Of(FrameType.Headers, flags, stream, Block(fields));

    public static byte[] Connect(int stream, FrameFlags flags = FrameFlags.None) =>
        Headers(stream, FrameFlags.EndHeaders | flags, (":method", "CONNECT"), (":authority", "10.0.0.1:80"));

    public static byte[] Block(params IEnumerable<(string Name, string Value)> fields)
    {
        var output = new ArrayBufferWriter<byte>();
        new HpackEncoder().Encode(fields.Select(field => new HeaderField(field.Name, field.Value)), output);
        return output.WrittenSpan.ToArray();
    }

    public override string ToString() => $"{Header} {Convert.ToHexStringLower(Payload.AsSpan(0, Math.Min(Payload.Length, 32)))}";
}

/// <summary>A connection of ours and a peer that says and expects frames one by one, over memory, with a clock that the test turns.</summary>
internal sealed class Http2Peer : IAsyncDisposable
{
    public static readonly byte[] Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();
    private readonly HpackDecoder _decoder = new(4096, 1024 * 1024);
    private readonly Stream _stream;

    private Http2Peer(bool oursIsServer, HboneOptions options, Func<Stream, Stream>? wrap)
    {
        (_stream, var ours) = Wire.Make();
        Connection = new Http2Connection(
            wrap is null ? ours : wrap(ours), oursIsServer, options, Time, NullLogger.Instance, stream => Requests.Writer.TryWrite(stream));
    }

    public FakeTimeProvider Time { get; } = new();

    public Http2Connection Connection { get; }

    public Channel<Http2Stream> Requests { get; } = Channel.CreateUnbounded<Http2Stream>();

    /// <summary>Windows and limits that a test can reach.</summary>
    public static HboneOptions SmallOptions() => new()
    {
        StreamWindowSize = FlowWindow.Default,
        ConnectionWindowSize = 2 * FlowWindow.Default,
        MaxFrameSize = 128 * 1024,
        MaxHeaderListSize = 4096,
        MaxConcurrentStreams = 3,
    };

    /// <summary>A server of ours that has not heard anything yet.</summary>
    public static Http2Peer ConnectToServer(HboneOptions? options = null, Func<Stream, Stream>? wrap = null)
    {
        var peer = new Http2Peer(oursIsServer: true, options ?? SmallOptions(), wrap);
        peer.Connection.Start();
        return peer;
    }

    /// <summary>A server of ours, past the preface.</summary>
    public static async Task<Http2Peer> ClientAsync(HboneOptions? options = null, Func<Stream, Stream>? wrap = null, params (Http2Setting Id, uint Value)[] settings)
    {
        var peer = ConnectToServer(options, wrap);
        await peer.SendAsync([.. Preface, .. Frame.Settings(settings)]);
        Assert.Equal(FrameType.Settings, (await peer.NextAsync()).Type);
        await peer.SettingsAckAsync();
        await peer.Connection.Ready.InTime();
        return peer;
    }

    /// <summary>A client of ours, of which the preface was read and that has not heard anything yet.</summary>
    public static async Task<Http2Peer> ConnectedByClientAsync(HboneOptions? options = null)
    {
        var peer = new Http2Peer(oursIsServer: false, options ?? SmallOptions(), wrap: null);
        peer.Connection.Start();
        var preface = new byte[Preface.Length];
        await peer._stream.ReadExactlyAsync(preface).InTime();
        Assert.Equal(Preface, preface);
        return peer;
    }

    /// <summary>A client of ours, past the preface.</summary>
    public static async Task<Http2Peer> ServerAsync(HboneOptions? options = null, params (Http2Setting Id, uint Value)[] settings)
    {
        var peer = await ConnectedByClientAsync(options);
        Assert.Equal(FrameType.Settings, (await peer.NextAsync()).Type);
        await peer.SendAsync(Frame.Settings(settings));
        await peer.SettingsAckAsync();
        await peer.Connection.Ready.InTime();
        return peer;
    }

    public Task SendAsync(params byte[] octets) => _stream.WriteAsync(octets).InTime();

    public Task SendAsync(FrameType type, FrameFlags flags, int stream, params byte[] payload) => SendAsync(Frame.Of(type, flags, stream, payload));

    /// <summary>Opens a stream as a client and returns ours.</summary>
    public async Task<Http2Stream> OpenAsync(int stream, FrameFlags flags = FrameFlags.None)
    {
        await SendAsync(Frame.Connect(stream, flags));
        return await Requests.Reader.ReadAsync().InTime();
    }

    /// <summary>Opens a stream as a client and has it accepted.</summary>
    public async Task<Http2Stream> OpenAcceptedAsync(int stream)
    {
        var opened = await OpenAsync(stream);
        Connection.Respond(opened, [new HeaderField(":status", "200")], endStream: false);
        await ExpectAsync(FrameType.Headers, stream);
        return opened;
    }

    /// <summary>The next frame, whatever it is.</summary>
    public async Task<Frame> NextAsync()
    {
        var header = new byte[FrameHeader.Size];
        await _stream.ReadExactlyAsync(header).InTime();
        var parsed = FrameHeader.Read(header);
        var payload = new byte[parsed.Length];
        await _stream.ReadExactlyAsync(payload).InTime();
        return new Frame(parsed, payload);
    }

    /// <summary>The next frame but for WINDOW_UPDATE, SETTINGS and PING that were not asked for; it must be this one.</summary>
    public async Task<Frame> ExpectAsync(FrameType type, int stream)
    {
        while (true)
        {
            var frame = await NextAsync();
            if (frame.Type == type && frame.StreamId == stream)
            {
                return frame;
            }

            if (frame.Type is not (FrameType.WindowUpdate or FrameType.Settings or FrameType.Ping))
            {
                throw new XunitException($"expected {type} on stream {stream}, got {frame}");
            }
        }
    }

    public async Task<string> ExpectHeadersAsync(int stream) => Describe(await ExpectAsync(FrameType.Headers, stream));

    public string Describe(Frame headers)
    {
        var fields = new List<HeaderField>();
        _decoder.Decode(headers.Payload, fields);
        return string.Join(", ", fields.Select(field => $"{field.Name}: {field.Value}"));
    }

    public async Task ExpectResetAsync(int stream, Http2ErrorCode code) => Assert.Equal(code, (await ExpectAsync(FrameType.RstStream, stream)).Code);

    /// <summary>GOAWAY and then the end of the connection.</summary>
    public async Task ExpectGoAwayAsync(Http2ErrorCode code)
    {
        var goAway = await ExpectAsync(FrameType.GoAway, 0);
        Assert.Equal(code, goAway.Code);
        await ExpectEndAsync();
    }

    public async Task ExpectEndAsync()
    {
        Assert.Equal(0, await _stream.ReadAsync(new byte[1]).InTime());
        await _stream.DisposeAsync();
        await Connection.Closed.InTime();
    }

    /// <summary>Asks for a sign of life, which comes behind everything that was sent before.</summary>
    public async Task PingPongAsync()
    {
        var opaque = Guid.NewGuid().ToByteArray()[..8];
        await SendAsync(FrameType.Ping, FrameFlags.None, 0, opaque);
        while (await NextAsync() is var frame && !(frame.Type is FrameType.Ping && frame.Payload.AsSpan().SequenceEqual(opaque)))
        {
            Assert.True(frame.Type is FrameType.WindowUpdate or FrameType.Settings, $"expected the answer to PING, got {frame}");
        }
    }

    /// <summary>Reads DATA until there are this many octets.</summary>
    public async Task<byte[]> ReadDataAsync(int stream, int count)
    {
        var all = new MemoryStream();
        while (all.Length < count)
        {
            all.Write((await ExpectAsync(FrameType.Data, stream)).Payload);
        }

        Assert.Equal(count, all.Length);
        return all.ToArray();
    }

    public async Task<string> ReadTextAsync(int stream, int count) => Encoding.UTF8.GetString(await ReadDataAsync(stream, count));

    /// <summary>Ends the peer's side without a word.</summary>
    public ValueTask HangUpAsync() => _stream.DisposeAsync();

    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync();
        await Connection.DisposeAsync().InTime();
    }

    private async Task SettingsAckAsync()
    {
        while (await NextAsync() is var frame && !(frame.Type is FrameType.Settings && frame.Header.Has(FrameFlags.Ack)))
        {
            Assert.Equal(FrameType.WindowUpdate, frame.Type);
        }
    }
}

/// <summary>What tests do with our end of a stream.</summary>
internal static class Http2StreamExtensions
{
    public static async Task<string> ReadTextAsync(this Http2Stream stream)
    {
        var result = await stream.Input.ReadAsync().InTime();
        var text = Encoding.UTF8.GetString(result.Buffer);
        stream.Input.AdvanceTo(result.Buffer.End);
        return text;
    }
}
