using System.Buffers.Binary;
using Google.Protobuf;

namespace Mesh.Xds.Grpc;

/// <summary>Messages on a stream of octets: a flag, four octets of length, the message (PROTOCOL-HTTP2 of gRPC, "Length-Prefixed-Message").</summary>
internal static class GrpcFraming
{
    /// <summary>The octets before a message.</summary>
    public const int HeaderLength = 5;

    // A length is only what the peer says: memory follows the octets that have come.
    private const int FirstBuffer = 64 * 1024;
    private const int Piece = 64 * 1024;

    /// <summary>A message with its header.</summary>
    public static byte[] Write(IMessage message)
    {
        var length = message.CalculateSize();
        var frame = new byte[HeaderLength + length];
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(1), (uint)length);
        message.WriteTo(frame.AsSpan(HeaderLength));
        return frame;
    }

    /// <summary>Sends a message with its header, and with octets before it that are part of it: fields in wire format, which many messages share.</summary>
    /// <remarks>In pieces, each of which waits until there is room: a message for a slow peer is not kept twice.</remarks>
    /// <param name="stream">Where to.</param>
    /// <param name="message">The message.</param>
    /// <param name="shared">Octets of it that stand before the rest.</param>
    /// <param name="onProgress">Called whenever the peer has taken some.</param>
    /// <param name="cancellationToken">Ends it.</param>
    public static async Task WriteAsync(Stream stream, IMessage message, ReadOnlyMemory<byte> shared, Action? onProgress, CancellationToken cancellationToken)
    {
        var frame = Write(message);
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(1), (uint)(frame.Length - HeaderLength + shared.Length));
        await stream.WriteAsync(frame.AsMemory(0, HeaderLength), cancellationToken);
        await WritePiecesAsync(stream, shared, onProgress, cancellationToken);
        await WritePiecesAsync(stream, frame.AsMemory(HeaderLength), onProgress, cancellationToken);
        await stream.FlushAsync(cancellationToken);
    }

    private static async Task WritePiecesAsync(Stream stream, ReadOnlyMemory<byte> octets, Action? onProgress, CancellationToken cancellationToken)
    {
        for (var sent = 0; sent < octets.Length; sent += Piece)
        {
            await stream.WriteAsync(octets.Slice(sent, Math.Min(Piece, octets.Length - sent)), cancellationToken);
            onProgress?.Invoke();
        }
    }

    /// <summary>Reads the next message; null at the end of the stream.</summary>
    /// <exception cref="GrpcException">It is compressed, too long, cut off, or not what it should be.</exception>
    /// <exception cref="IOException">The stream broke.</exception>
    public static async Task<T?> ReadAsync<T>(Stream stream, MessageParser<T> parser, int maxMessageSize, CancellationToken cancellationToken)
        where T : class, IMessage<T>
    {
        var header = new byte[HeaderLength];
        var read = await stream.ReadAtLeastAsync(header, HeaderLength, throwOnEndOfStream: false, cancellationToken);
        if (read == 0)
        {
            return null;
        }

        if (read < HeaderLength)
        {
            throw CutOff();
        }

        if (header[0] != 0)
        {
            // We advertise no encoding, so there is none that could have been used.
            throw new GrpcException(GrpcStatusCode.Internal, $"the peer sent a compressed message (flag {header[0]}), which was not offered");
        }

        var length = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(1));
        if (length > (uint)maxMessageSize)
        {
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"the peer sent a message of {length} octets; allowed are {maxMessageSize}");
        }

        var message = await ReadMessageAsync(stream, (int)length, cancellationToken);
        try
        {
            return parser.ParseFrom(message.Span);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new GrpcException(GrpcStatusCode.Internal, $"the peer sent a message that is no {parser.GetType().GenericTypeArguments[0].Name}: {e.Message}", e);
        }
    }

    private static async Task<ReadOnlyMemory<byte>> ReadMessageAsync(Stream stream, int length, CancellationToken cancellationToken)
    {
        var buffer = new byte[Math.Min(length, FirstBuffer)];
        var filled = 0;
        while (true)
        {
            filled += await stream.ReadAtLeastAsync(buffer.AsMemory(filled), buffer.Length - filled, throwOnEndOfStream: false, cancellationToken);
            if (filled < buffer.Length)
            {
                throw CutOff();
            }

            if (filled == length)
            {
                return buffer;
            }

            Array.Resize(ref buffer, (int)Math.Min(length, buffer.Length * 2L));
        }
    }

    private static GrpcException CutOff() => new(GrpcStatusCode.Unavailable, "the stream ended in the middle of a message");
}
