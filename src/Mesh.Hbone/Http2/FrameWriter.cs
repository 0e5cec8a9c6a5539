using System.Buffers;
using System.Buffers.Binary;

namespace Mesh.Hbone.Http2;

/// <summary>Writes the small frames whole (RFC 9113, section 6).</summary>
internal static class FrameWriter
{
    public static void WriteSettings(IBufferWriter<byte> output, params ReadOnlySpan<(Http2Setting Id, uint Value)> settings)
    {
        var payload = Begin(output, FrameType.Settings, FrameFlags.None, 0, settings.Length * 6);
        foreach (var (id, value) in settings)
        {
            BinaryPrimitives.WriteUInt16BigEndian(payload, (ushort)id);
            BinaryPrimitives.WriteUInt32BigEndian(payload[2..], value);
            payload = payload[6..];
        }

        output.Advance(FrameHeader.Size + (settings.Length * 6));
    }

    public static void WriteSettingsAck(IBufferWriter<byte> output)
    {
        Begin(output, FrameType.Settings, FrameFlags.Ack, 0, 0);
        output.Advance(FrameHeader.Size);
    }

    public static void WritePing(IBufferWriter<byte> output, ulong opaque, bool ack)
    {
        BinaryPrimitives.WriteUInt64BigEndian(Begin(output, FrameType.Ping, ack ? FrameFlags.Ack : FrameFlags.None, 0, 8), opaque);
        output.Advance(FrameHeader.Size + 8);
    }

    public static void WriteGoAway(IBufferWriter<byte> output, int lastStreamId, Http2ErrorCode code)
    {
        var payload = Begin(output, FrameType.GoAway, FrameFlags.None, 0, 8);
        BinaryPrimitives.WriteInt32BigEndian(payload, lastStreamId);
        BinaryPrimitives.WriteInt32BigEndian(payload[4..], (int)code);
        output.Advance(FrameHeader.Size + 8);
    }

    public static void WriteWindowUpdate(IBufferWriter<byte> output, int streamId, int increment)
    {
        BinaryPrimitives.WriteInt32BigEndian(Begin(output, FrameType.WindowUpdate, FrameFlags.None, streamId, 4), increment);
        output.Advance(FrameHeader.Size + 4);
    }

    public static void WriteRstStream(IBufferWriter<byte> output, int streamId, Http2ErrorCode code)
    {
        BinaryPrimitives.WriteInt32BigEndian(Begin(output, FrameType.RstStream, FrameFlags.None, streamId, 4), (int)code);
        output.Advance(FrameHeader.Size + 4);
    }

    /// <summary>HEADERS, and CONTINUATION where the block is larger than a frame.</summary>
    public static void WriteHeaders(IBufferWriter<byte> output, int streamId, ReadOnlySpan<byte> block, int maxFrameLength, bool endStream)
    {
        var type = FrameType.Headers;
        do
        {
            var part = block[..Math.Min(block.Length, maxFrameLength)];
            block = block[part.Length..];
            var flags = (block.IsEmpty ? FrameFlags.EndHeaders : FrameFlags.None) | (type is FrameType.Headers && endStream ? FrameFlags.EndStream : FrameFlags.None);
            part.CopyTo(Begin(output, type, flags, streamId, part.Length));
            output.Advance(FrameHeader.Size + part.Length);
            type = FrameType.Continuation;
        }
        while (!block.IsEmpty);
    }

    private static Span<byte> Begin(IBufferWriter<byte> output, FrameType type, FrameFlags flags, int streamId, int length)
    {
        var span = output.GetSpan(FrameHeader.Size + length);
        new FrameHeader(length, type, flags, streamId).Write(span);
        return span.Slice(FrameHeader.Size, length);
    }
}
