using System.Buffers.Binary;

namespace Mesh.Ztunnel.Dns;

/// <summary>Messages on a TCP connection, each behind two octets of length (RFC 1035 section 4.2.2).</summary>
internal static class DnsStream
{
    /// <summary>Reads a message; null at the end of the stream, and when the message is longer than it may be.</summary>
    /// <exception cref="IOException">The stream ends within a message, or breaks.</exception>
    public static async ValueTask<byte[]?> ReadMessageAsync(Stream stream, int maxLength, CancellationToken cancellationToken)
    {
        var prefix = new byte[sizeof(ushort)];
        var read = await stream.ReadAtLeastAsync(prefix, prefix.Length, throwOnEndOfStream: false, cancellationToken);
        var length = BinaryPrimitives.ReadUInt16BigEndian(prefix);
        if (read < prefix.Length || length > maxLength)
        {
            return null;
        }

        var message = new byte[length];
        await stream.ReadExactlyAsync(message, cancellationToken);
        return message;
    }

    /// <summary>Writes a message, length and all at once, so that it goes out in one segment (RFC 7766 section 8).</summary>
    public static async ValueTask WriteMessageAsync(Stream stream, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        var framed = new byte[sizeof(ushort) + message.Length];
        BinaryPrimitives.WriteUInt16BigEndian(framed, (ushort)message.Length);
        message.CopyTo(framed.AsMemory(sizeof(ushort)));
        await stream.WriteAsync(framed, cancellationToken);
        await stream.FlushAsync(cancellationToken);
    }
}
