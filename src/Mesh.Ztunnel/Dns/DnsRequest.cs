namespace Mesh.Ztunnel.Dns;

/// <summary>What a client sent, judged.</summary>
internal abstract record DnsRequest
{
    // Longer ones are of no use: one name, and the options of EDNS, which we do not read.
    public const int MaxLength = 4096;

    private DnsRequest()
    {
    }

    /// <summary>A question to answer.</summary>
    /// <param name="Id">The client's number for it.</param>
    /// <param name="Question">The question.</param>
    /// <param name="RecursionDesired">RD.</param>
    /// <param name="AuthenticData">AD: the client wants to know whether the answer was validated (RFC 6840 section 5.7).</param>
    /// <param name="CheckingDisabled">CD.</param>
    /// <param name="Edns">What the client says of itself; null when it does not speak EDNS.</param>
    internal sealed record Query(ushort Id, DnsQuestion Question, bool RecursionDesired, bool AuthenticData, bool CheckingDisabled, DnsEdns? Edns) : DnsRequest;

    /// <summary>No question that we answer; the code says so to the client.</summary>
    internal sealed record Refused(DnsHeader Header, DnsResponseCode Code, string Reason) : DnsRequest;

    /// <summary>Nothing that may be answered.</summary>
    internal sealed record Ignored(string Reason) : DnsRequest;

    /// <summary>Reads a message (ztunnel §11).</summary>
    public static DnsRequest Read(ReadOnlySpan<byte> message)
    {
        if (!DnsHeader.TryRead(message, out var header))
        {
            return new Ignored("shorter than a header");
        }

        if (header.IsResponse)
        {
            // Who answers an answer that says "I did not understand" with the same may do so for ever with one of its kind.
            return header.Code == (byte)DnsResponseCode.FormErr
                ? new Ignored("an answer that says FORMERR")
                : new Refused(header, DnsResponseCode.FormErr, "an answer, no question");
        }

        if (header.Opcode != DnsHeader.OpcodeQuery)
        {
            return new Refused(header, DnsResponseCode.NotImp, $"opcode {header.Opcode}");
        }

        return ReadQuestion(message, header, out var question, out var edns) is { } fault
            ? new Refused(header, DnsResponseCode.FormErr, fault)
            : new Query(
                header.Id,
                question,
                header.Has(DnsHeader.RecursionDesired),
                header.Has(DnsHeader.AuthenticData),
                header.Has(DnsHeader.CheckingDisabled),
                edns);
    }

    private static string? ReadQuestion(ReadOnlySpan<byte> message, DnsHeader header, out DnsQuestion question, out DnsEdns? edns)
    {
        question = default;
        edns = null;
        var records = header.Answers + header.Authority + header.Additional;
        var reader = new DnsReader(message, DnsHeader.Length);
        if (message.Length > MaxLength)
        {
            return "longer than a question can be";
        }

        if (header.Questions != 1)
        {
            return $"{header.Questions} questions instead of one";
        }

        if (!reader.TryReadQuestion(out question))
        {
            return "the question cannot be read";
        }

        if (!reader.CanHold(records))
        {
            return $"too short for {records} records";
        }

        // Of IXFR, dynamic updates and signatures; they must be well formed, but nothing of them is passed on.
        for (var i = 0; i < records; i++)
        {
            if (!reader.TryReadRecord(out var record))
            {
                return "a record cannot be read";
            }

            if (record.Type is not DnsRecordType.Opt)
            {
                continue;
            }

            if (edns is not null || i < header.Answers + header.Authority || !DnsReader.TryReadEdns(record, out edns, out _))
            {
                return "an OPT record twice, in the wrong place or of a name";
            }
        }

        return reader.IsAtEnd ? null : "octets after the last record";
    }
}
