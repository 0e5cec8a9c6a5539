using System.Text;

namespace Mesh.Hbone.Http2.Hpack;

/// <summary>Decodes the header blocks of one direction of a connection (RFC 7541). Not thread-safe.</summary>
/// <param name="maxTableSize">The table size that we announced in SETTINGS_HEADER_TABLE_SIZE.</param>
/// <param name="maxHeaderListSize">The list size that we announced in SETTINGS_MAX_HEADER_LIST_SIZE: what is over it is decoded, but not kept.</param>
internal sealed class HpackDecoder(int maxTableSize, int maxHeaderListSize)
{
    private readonly DynamicTable _table = new(maxTableSize);

    /// <summary>Decodes one whole block.</summary>
    /// <returns>False when the list is larger than announced; <paramref name="fields"/> then holds its beginning. The table is right either way.</returns>
    /// <exception cref="HpackException">The block is not valid.</exception>
    public bool Decode(ReadOnlySpan<byte> block, List<HeaderField> fields)
    {
        var listSize = 0L;
        var mayResize = true;
        while (!block.IsEmpty)
        {
            var first = block[0];
            if ((first & 0xE0) == 0x20)
            {
                // Size updates stand at the beginning of a block (RFC 7541, section 4.2).
                Resize(HpackInteger.Read(ref block, 5), mayResize);
                continue;
            }

            mayResize = false;
            var field = ReadField(ref block, first);
            listSize += field.Size;
            if (listSize <= maxHeaderListSize)
            {
                fields.Add(field);
            }
        }

        return listSize <= maxHeaderListSize;
    }

    private HeaderField ReadField(ref ReadOnlySpan<byte> block, byte first)
    {
        if ((first & 0x80) != 0)
        {
            return Entry(HpackInteger.Read(ref block, 7));
        }

        var indexed = (first & 0x40) != 0;
        var nameIndex = HpackInteger.Read(ref block, indexed ? 6 : 4);
        var name = nameIndex == 0 ? ReadString(ref block) : Entry(nameIndex).Name;
        var field = new HeaderField(name, ReadString(ref block));
        if (indexed)
        {
            _table.Add(field);
        }

        return field;
    }

    private HeaderField Entry(int index)
    {
        if (index >= 1 && index <= StaticTable.Entries.Length)
        {
            return StaticTable.Entries[index - 1];
        }

        var age = index - StaticTable.Entries.Length - 1;
        return index > 0 && age < _table.Count
            ? _table[age]
            : throw new HpackException($"index {index} is not in the tables, which have {StaticTable.Entries.Length + _table.Count} entries");
    }

    private void Resize(int size, bool allowed)
    {
        if (!allowed)
        {
            throw new HpackException("a table size update stands behind a header field");
        }

        if (size > maxTableSize)
        {
            throw new HpackException($"a table size update to {size} is over the announced {maxTableSize}");
        }

        _table.Resize(size);
    }

    private static string ReadString(ref ReadOnlySpan<byte> block)
    {
        if (block.IsEmpty)
        {
            throw new HpackException("the header block ends before a string");
        }

        var huffman = (block[0] & 0x80) != 0;
        var length = HpackInteger.Read(ref block, 7);
        if (length > block.Length)
        {
            throw new HpackException($"a string of {length} octets does not fit the {block.Length} that are left of the header block");
        }

        var text = huffman ? Huffman.Decode(block[..length]) : Encoding.Latin1.GetString(block[..length]);
        block = block[length..];
        return text;
    }
}
