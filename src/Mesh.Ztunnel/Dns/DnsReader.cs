using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;

namespace Mesh.Ztunnel.Dns;

/// <summary>Reads the parts of a message one after the other. Never throws: what does not fit is answered with false.</summary>
internal ref struct DnsReader
{
    private const int RecordTail = 10;
    private const ushort DnssecOkFlag = 0x8000;
    private readonly ReadOnlySpan<byte> _message;
    private int _at;

    public DnsReader(ReadOnlySpan<byte> message, int at)
    {
        _message = message;
        _at = at;
    }

    public readonly bool IsAtEnd => _at == _message.Length;

    /// <summary>Whether so many records can be in what is left: each has a name of one octet, at least, and ten more.</summary>
    public readonly bool CanHold(int records) => records * (1 + RecordTail) <= _message.Length - _at;

    public bool TryReadQuestion(out DnsQuestion question)
    {
        question = default;
        if (!TryReadName(out var name) || !TryReadUInt16(out var type) || !TryReadUInt16(out var @class))
        {
            return false;
        }

        question = new DnsQuestion(name, (DnsRecordType)type, @class);
        return true;
    }

    /// <summary>Reads a record; names in its data are written out.</summary>
    public bool TryReadRecord([NotNullWhen(true)] out DnsRecord? record)
    {
        record = null;
        if (!TryReadName(out var name) || !TryReadUInt16(out var type) || !TryReadUInt16(out var @class)
            || !TryReadUInt32(out var timeToLive) || !TryReadUInt16(out var length) || length > _message.Length - _at)
        {
            return false;
        }

        // Up to the end of the data, so that a name in it cannot run into the next record.
        var data = new DnsReader(_message[..(_at + length)], _at);
        if (!data.TryReadData((DnsRecordType)type, out var octets))
        {
            return false;
        }

        _at += length;
        record = new DnsRecord(name, (DnsRecordType)type, @class, timeToLive, octets);
        return true;
    }

    /// <summary>Reads an OPT record as what it means (RFC 6891 section 6.1.2).</summary>
    /// <param name="record">The record.</param>
    /// <param name="edns">What it says.</param>
    /// <param name="codeHigh">The eight high bits of the response code.</param>
    /// <returns>False when it is none.</returns>
    public static bool TryReadEdns(DnsRecord record, [NotNullWhen(true)] out DnsEdns? edns, out byte codeHigh)
    {
        edns = null;
        codeHigh = (byte)(record.TimeToLive >> 24);
        if (record.Type is not DnsRecordType.Opt || record.Name.Wire.Length != 1)
        {
            return false;
        }

        edns = new DnsEdns(record.Class, (byte)(record.TimeToLive >> 16), (record.TimeToLive & DnssecOkFlag) != 0);
        return true;
    }

    private bool TryReadData(DnsRecordType type, out byte[] data)
    {
        data = [];
        var layout = DnsDataLayout.Of(type);
        if (layout.Names == 0)
        {
            data = _message[_at..].ToArray();
            return true;
        }

        var written = new MemoryStream(_message.Length - _at + DnsName.MaxLength);
        if (!TryTake(layout.Before, written))
        {
            return false;
        }

        for (var i = 0; i < layout.Names; i++)
        {
            if (!TryReadName(out var name))
            {
                return false;
            }

            written.Write(name.Wire);
        }

        if (!TryTake(layout.After, written) || !IsAtEnd)
        {
            return false;
        }

        data = written.ToArray();
        return true;
    }

    // Every jump goes to before the part of the name that jumps, and never into the header: no name can loop, or point at what is no name.
    private bool TryReadName([NotNullWhen(true)] out DnsName? name)
    {
        const int PointerMark = 0xC0;
        name = null;
        Span<byte> wire = stackalloc byte[DnsName.MaxLength];
        var length = 0;
        var at = _at;
        var partBegin = _at;
        int? end = null;
        for (var jumps = 0; at < _message.Length;)
        {
            var octet = _message[at];
            if ((octet & PointerMark) == PointerMark)
            {
                if (at + 1 >= _message.Length)
                {
                    return false;
                }

                end ??= at + 2;
                at = ((octet & ~PointerMark) << 8) | _message[at + 1];
                if (at >= partBegin || at < DnsHeader.Length || ++jumps > DnsName.MaxLabels)
                {
                    return false;
                }

                partBegin = at;
            }
            else if ((octet & PointerMark) != 0 || length + 1 + octet > DnsName.MaxLength || at + 1 + octet > _message.Length)
            {
                return false;
            }
            else
            {
                _message.Slice(at, 1 + octet).CopyTo(wire[length..]);
                length += 1 + octet;
                at += 1 + octet;
                if (octet == 0)
                {
                    name = DnsName.FromWire(wire[..length]);
                    _at = end ?? at;
                    return true;
                }
            }
        }

        return false;
    }

    private bool TryTake(int count, MemoryStream output)
    {
        if (count > _message.Length - _at)
        {
            return false;
        }

        output.Write(_message.Slice(_at, count));
        _at += count;
        return true;
    }

    private bool TryReadUInt16(out ushort value)
    {
        if (!BinaryPrimitives.TryReadUInt16BigEndian(_message[_at..], out value))
        {
            return false;
        }

        _at += sizeof(ushort);
        return true;
    }

    private bool TryReadUInt32(out uint value)
    {
        if (!BinaryPrimitives.TryReadUInt32BigEndian(_message[_at..], out value))
        {
            return false;
        }

        _at += sizeof(uint);
        return true;
    }
}
