using System.Collections.Immutable;

namespace Mesh.Ztunnel.Dns;

/// <summary>What a message from an upstream server is worth.</summary>
internal enum DnsReplyKind
{
    /// <summary>It does not answer our question; somebody else may have sent it.</summary>
    NotOurs,

    /// <summary>It answers our question, but cannot be read.</summary>
    Malformed,

    /// <summary>It answers our question.</summary>
    Answer,
}

/// <summary>Reads what an upstream server answers.</summary>
internal static class DnsReply
{
    /// <summary>Reads a message, whoever sent it. It is an answer only with the id of the question and the question itself (RFC 5452 section 9.1).</summary>
    public static DnsReplyKind Read(ReadOnlySpan<byte> message, ushort id, DnsQuestion question, out DnsAnswer answer)
    {
        answer = DnsAnswer.ServFail;
        if (!DnsHeader.TryRead(message, out var header) || header.Id != id || !header.IsResponse || header.Opcode != DnsHeader.OpcodeQuery)
        {
            return DnsReplyKind.NotOurs;
        }

        // A server that refuses may leave the question out. We wait on then, rather than believe who has guessed the id alone.
        var reader = new DnsReader(message, DnsHeader.Length);
        if (header.Questions != 1 || !reader.TryReadQuestion(out var asked) || asked != question)
        {
            return DnsReplyKind.NotOurs;
        }

        byte codeHigh = 0;
        if (!reader.CanHold(header.Answers + header.Authority + header.Additional)
            || !TryReadSection(ref reader, header.Answers, ref codeHigh, out var answers)
            || !TryReadSection(ref reader, header.Authority, ref codeHigh, out var authority)
            || !TryReadSection(ref reader, header.Additional, ref codeHigh, out var additional))
        {
            // A server may cut where it likes; that it has cut is what counts.
            answer = new DnsAnswer((DnsResponseCode)header.Code) { Truncated = true };
            return header.Has(DnsHeader.TruncatedMessage) ? DnsReplyKind.Answer : DnsReplyKind.Malformed;
        }

        answer = new DnsAnswer((DnsResponseCode)((codeHigh << 4) | header.Code))
        {
            Answers = answers,
            Authority = authority,
            Additional = additional,
            AuthenticData = header.Has(DnsHeader.AuthenticData),
            Truncated = header.Has(DnsHeader.TruncatedMessage),
        };
        return DnsReplyKind.Answer;
    }

    // The OPT record is between the server and us.
    private static bool TryReadSection(ref DnsReader reader, int count, ref byte codeHigh, out ImmutableArray<DnsRecord> records)
    {
        var section = ImmutableArray.CreateBuilder<DnsRecord>(count);
        records = [];
        for (var i = 0; i < count; i++)
        {
            if (!reader.TryReadRecord(out var record))
            {
                return false;
            }

            if (record.Type is not DnsRecordType.Opt)
            {
                section.Add(record);
            }
            else if (!DnsReader.TryReadEdns(record, out _, out codeHigh))
            {
                return false;
            }
        }

        records = section.ToImmutable();
        return true;
    }
}
