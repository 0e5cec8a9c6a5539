using System.Buffers;

namespace Mesh.Hbone.Http2.Hpack;

/// <summary>Integers with a prefix (RFC 7541, section 5.1).</summary>
internal static class HpackInteger
{
    // Nothing in a header block needs more; it also keeps the shift below 32.
    private const int MaxContinuationOctets = 4;

    public static int Read(ref ReadOnlySpan<byte> source, int prefixBits)
    {
        var mask = (1 << prefixBits) - 1;
        var value = Next(ref source) & mask;
        if (value < mask)
        {
            return value;
        }

        for (var i = 0; i < MaxContinuationOctets; i++)
        {
            var octet = Next(ref source);
            value += (octet & 0x7F) << (7 * i);
            if (octet < 0x80)
            {
                return value;
            }
        }

        throw new HpackException($"an integer has more than {MaxContinuationOctets} continuation octets");
    }

    public static void Write(IBufferWriter<byte> output, byte pattern, int prefixBits, int value)
    {
        var mask = (1 << prefixBits) - 1;
        var span = output.GetSpan(6);
        var length = 0;
        if (value < mask)
        {
            span[length++] = (byte)(pattern | value);
        }
        else
        {
            span[length++] = (byte)(pattern | mask);
            value -= mask;
            while (value >= 0x80)
            {
                span[length++] = (byte)((value & 0x7F) | 0x80);
                value >>= 7;
            }

            span[length++] = (byte)value;
        }

        output.Advance(length);
    }

    private static int Next(ref ReadOnlySpan<byte> source)
    {
        if (source.IsEmpty)
        {
            throw new HpackException("the header block ends within an integer");
        }

        var octet = source[0];
        source = source[1..];
        return octet;
    }
}
