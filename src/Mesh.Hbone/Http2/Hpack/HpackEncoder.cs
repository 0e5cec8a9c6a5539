using System.Buffers;
using System.Text;

namespace Mesh.Hbone.Http2.Hpack;

/// <summary>Encodes the header blocks of one direction of a connection (RFC 7541). Not thread-safe: blocks are sent in the order they are encoded.</summary>
internal sealed class HpackEncoder
{
    /// <summary>The largest table we keep, whatever the peer offers.</summary>
    public const int MaxTableSize = 4096;

    // Different in each request; in the table they would only push out what repeats.
    private static readonly HashSet<string> Volatile = [":authority", "forwarded", "traceparent", "content-length"];

    private readonly DynamicTable _table = new(MaxTableSize);
    private int _announcedSize = MaxTableSize;
    private int _smallestSize = MaxTableSize;

    /// <summary>Takes the peer's SETTINGS_HEADER_TABLE_SIZE; the next block announces the change.</summary>
    public void Resize(uint peerTableSize)
    {
        var size = (int)Math.Min(peerTableSize, MaxTableSize);
        _smallestSize = Math.Min(_smallestSize, size);
        _table.Resize(size);
    }

    public void Encode(IEnumerable<HeaderField> fields, IBufferWriter<byte> output)
    {
        AnnounceSize(output);
        foreach (var field in fields)
        {
            Encode(field, output);
        }
    }

    private void AnnounceSize(IBufferWriter<byte> output)
    {
        // Two changes since the last block: the smaller one counts too, for it evicted (RFC 7541, section 4.2).
        if (_smallestSize < _table.MaxSize)
        {
            HpackInteger.Write(output, 0x20, 5, _smallestSize);
            _announcedSize = _smallestSize;
        }

        if (_announcedSize != _table.MaxSize)
        {
            HpackInteger.Write(output, 0x20, 5, _table.MaxSize);
        }

        _announcedSize = _smallestSize = _table.MaxSize;
    }

    private void Encode(in HeaderField field, IBufferWriter<byte> output)
    {
        var (index, nameIndex) = Find(field);
        if (index > 0)
        {
            HpackInteger.Write(output, 0x80, 7, index);
            return;
        }

        var keep = field.Size <= _table.MaxSize && !Volatile.Contains(field.Name);
        HpackInteger.Write(output, keep ? (byte)0x40 : (byte)0, keep ? 6 : 4, nameIndex);
        if (nameIndex == 0)
        {
            WriteString(field.Name, output);
        }

        WriteString(field.Value, output);
        if (keep)
        {
            _table.Add(field);
        }
    }

    private (int Index, int NameIndex) Find(in HeaderField field)
    {
        var index = StaticTable.IndexOf(field);
        var nameIndex = StaticTable.IndexOfName(field.Name);
        for (var age = 0; index == 0 && age < _table.Count; age++)
        {
            var entry = _table[age];
            if (entry.Name == field.Name)
            {
                var at = StaticTable.Entries.Length + 1 + age;
                nameIndex = nameIndex == 0 ? at : nameIndex;
                index = entry.Value == field.Value ? at : 0;
            }
        }

        return (index, nameIndex);
    }

    private static void WriteString(string text, IBufferWriter<byte> output)
    {
        var coded = Huffman.EncodedLength(text);
        if (coded < text.Length)
        {
            HpackInteger.Write(output, 0x80, 7, coded);
            Huffman.Encode(text, output);
            return;
        }

        HpackInteger.Write(output, 0, 7, text.Length);
        output.Advance(Encoding.Latin1.GetBytes(text, output.GetSpan(text.Length)));
    }
}
