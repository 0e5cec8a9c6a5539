using System.Buffers;
using System.Text;

namespace Mesh.Hbone.Http2.Hpack;

/// <summary>Huffman coding of strings (RFC 7541, section 5.2).</summary>
internal static class Huffman
{
    // A node of the decoding tree: two children each. Positive: the next node. Negative: the symbol, as -1 - symbol. 0: none.
    private static readonly short[] Tree = BuildTree();

    /// <summary>How many octets the coded text has.</summary>
    public static int EncodedLength(string text)
    {
        var bits = 0L;
        foreach (var c in text)
        {
            bits += HuffmanTable.Codes[(byte)c].Bits;
        }

        return (int)((bits + 7) / 8);
    }

    public static void Encode(string text, IBufferWriter<byte> output)
    {
        var length = EncodedLength(text);
        var span = output.GetSpan(length);
        var pending = 0UL;
        var pendingBits = 0;
        var written = 0;
        foreach (var c in text)
        {
            var (code, bits) = HuffmanTable.Codes[(byte)c];
            pending = (pending << bits) | code;
            pendingBits += bits;
            while (pendingBits >= 8)
            {
                pendingBits -= 8;
                span[written++] = (byte)(pending >> pendingBits);
            }
        }

        if (pendingBits > 0)
        {
            // Padding is the beginning of the end-of-string code: ones.
            span[written++] = (byte)((pending << (8 - pendingBits)) | (0xFFu >> pendingBits));
        }

        output.Advance(written);
    }

    /// <exception cref="HpackException">Bad padding, or the end-of-string symbol in the text.</exception>
    public static string Decode(ReadOnlySpan<byte> coded)
    {
        // The shortest code has five bits.
        var buffer = ArrayPool<byte>.Shared.Rent((coded.Length * 8 / 5) + 1);
        try
        {
            var length = 0;
            var node = 0;
            var bitsSinceSymbol = 0;
            var onesSinceSymbol = true;
            foreach (var octet in coded)
            {
                for (var bit = 7; bit >= 0; bit--)
                {
                    var one = (octet >> bit) & 1;
                    bitsSinceSymbol++;
                    onesSinceSymbol &= one == 1;
                    var next = Tree[(node * 2) + one];
                    if (next >= 0)
                    {
                        node = next;
                        continue;
                    }

                    var symbol = -1 - next;
                    if (symbol == HuffmanTable.EndOfString)
                    {
                        throw new HpackException("a Huffman-coded string contains the end-of-string symbol");
                    }

                    buffer[length++] = (byte)symbol;
                    node = 0;
                    bitsSinceSymbol = 0;
                    onesSinceSymbol = true;
                }
            }

            if (bitsSinceSymbol > 7 || !onesSinceSymbol)
            {
                throw new HpackException("a Huffman-coded string has wrong padding");
            }

            return Encoding.Latin1.GetString(buffer, 0, length);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static short[] BuildTree()
    {
        var nodes = new List<short[]> { new short[2] };
        for (var symbol = 0; symbol < HuffmanTable.Codes.Length; symbol++)
        {
            var (code, bits) = HuffmanTable.Codes[symbol];
            var node = 0;
            for (var bit = bits - 1; bit > 0; bit--)
            {
                ref var next = ref nodes[node][(code >> bit) & 1];
                if (next == 0)
                {
                    next = (short)nodes.Count;
                    nodes.Add(new short[2]);
                }

                node = next;
            }

            nodes[node][code & 1] = (short)(-1 - symbol);
        }

        return [.. nodes.SelectMany(node => node)];
    }
}
