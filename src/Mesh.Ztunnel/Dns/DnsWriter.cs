using System.Buffers.Binary;

namespace Mesh.Ztunnel.Dns;

/// <summary>Writes a message part by part, up to a length, with names compressed (RFC 1035 section 4.1.4).</summary>
internal sealed class DnsWriter
{
    // The largest offset that a pointer can hold.
    private const int MaxPointer = 0x3FFF;

    // Beginnings of names that later ones may point to. The records of an answer have few names; of a hostile one, nobody needs it short.
    private const int MaxRemembered = 32;
    private const int InitialSize = 512;
    private const int PointerLength = 2;
    private const ushort PointerMark = 0xC000;
    private readonly int _limit;
    private readonly List<(int Offset, byte[] Suffix)> _remembered = [];
    private byte[] _buffer = new byte[InitialSize];
    private int _length;

    /// <summary>Leaves room for a header.</summary>
    /// <param name="limit">Octets that the message may have.</param>
    public DnsWriter(int limit)
    {
        _limit = limit;
        _length = DnsHeader.Length;
    }

    public void Write(DnsQuestion question)
    {
        WriteName(question.Name, compress: true);
        WriteUInt16((ushort)question.Type);
        WriteUInt16(question.Class);
    }

    /// <summary>Writes an OPT record (RFC 6891 section 6.1.2); the header counts it with the additional ones.</summary>
    public void Write(DnsEdns edns, DnsResponseCode code)
    {
        WriteName(DnsName.Root, compress: false);
        WriteUInt16((ushort)DnsRecordType.Opt);
        WriteUInt16(edns.PayloadSize);
        WriteUInt32(((uint)code >> 4 << 24) | ((uint)edns.Version << 16) | (edns.DnssecOk ? 0x8000u : 0));
        WriteUInt16(0);
    }

    /// <summary>Writes a record whole or not at all.</summary>
    /// <param name="record">The record.</param>
    /// <param name="reserved">Octets that must be left.</param>
    /// <returns>False when it does not fit.</returns>
    public bool TryWrite(DnsRecord record, int reserved)
    {
        var begin = _length;
        var remembered = _remembered.Count;
        WriteName(record.Name, compress: true);
        WriteUInt16((ushort)record.Type);
        WriteUInt16(record.Class);
        WriteUInt32(record.TimeToLive);
        var lengthAt = _length;
        WriteUInt16(0);
        WriteData(record);
        var dataLength = _length - lengthAt - sizeof(ushort);
        if (_length <= _limit - reserved && dataLength <= ushort.MaxValue)
        {
            BinaryPrimitives.WriteUInt16BigEndian(_buffer.AsSpan(lengthAt), (ushort)dataLength);
            return true;
        }

        _length = begin;
        _remembered.RemoveRange(remembered, _remembered.Count - remembered);
        return false;
    }

    /// <summary>Writes the header, and returns the whole.</summary>
    public byte[] Complete(DnsHeader header)
    {
        header.Write(_buffer);
        return _buffer.AsSpan(0, _length).ToArray();
    }

    private void WriteData(DnsRecord record)
    {
        var layout = DnsDataLayout.Of(record.Type);
        var data = record.Data.Span;
        if (!layout.MayCompress)
        {
            WriteOctets(data);
            return;
        }

        WriteOctets(data[..layout.Before]);
        data = data[layout.Before..];
        for (var i = 0; i < layout.Names; i++)
        {
            var name = data[..LengthOfName(data)];
            WriteName(name, compress: true);
            data = data[name.Length..];
        }

        WriteOctets(data);
    }

    private void WriteName(DnsName name, bool compress) => WriteName(name.Wire, compress);

    private void WriteName(ReadOnlySpan<byte> name, bool compress)
    {
        while (name[0] != 0 && compress)
        {
            if (Find(name) is { } offset)
            {
                WriteUInt16((ushort)(PointerMark | offset));
                return;
            }

            if (_length <= MaxPointer && _remembered.Count < MaxRemembered && name.Length > PointerLength)
            {
                _remembered.Add((_length, name.ToArray()));
            }

            WriteOctets(name[..(1 + name[0])]);
            name = name[(1 + name[0])..];
        }

        WriteOctets(name);
    }

    // The same octets, not the same letters: nobody's case is to change.
    private int? Find(ReadOnlySpan<byte> suffix)
    {
        foreach (var (offset, known) in _remembered)
        {
            if (suffix.SequenceEqual(known))
            {
                return offset;
            }
        }

        return null;
    }

    private static int LengthOfName(ReadOnlySpan<byte> data)
    {
        var at = 0;
        while (data[at] != 0)
        {
            at += 1 + data[at];
        }

        return at + 1;
    }

    private void WriteUInt16(ushort value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(Room(sizeof(ushort)), value);
        _length += sizeof(ushort);
    }

    private void WriteUInt32(uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(Room(sizeof(uint)), value);
        _length += sizeof(uint);
    }

    private void WriteOctets(ReadOnlySpan<byte> octets)
    {
        octets.CopyTo(Room(octets.Length));
        _length += octets.Length;
    }

    // May grow beyond the limit by one record, which is then taken back.
    private Span<byte> Room(int count)
    {
        if (_length + count > _buffer.Length)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, _length + count));
        }

        return _buffer.AsSpan(_length, count);
    }
}
