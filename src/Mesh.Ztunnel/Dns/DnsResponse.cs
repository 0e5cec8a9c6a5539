using System.Collections.Immutable;

namespace Mesh.Ztunnel.Dns;

/// <summary>Writes messages to clients and to upstream servers.</summary>
internal static class DnsResponse
{
    /// <summary>What every client takes over UDP (RFC 1035 section 2.3.4), and the least that EDNS can say (RFC 6891 section 6.2.3).</summary>
    public const int MinUdpLength = 512;

    /// <summary>What we send over UDP at most, whatever a client says that it takes.</summary>
    public const int MaxUdpLength = 4096;

    /// <summary>What fits behind the two octets of length (RFC 1035 section 4.2.2).</summary>
    public const int MaxTcpLength = ushort.MaxValue;

    private const int EdnsLength = 11;
    private const int MaxCodeWithoutEdns = 15;

    /// <summary>How long an answer over UDP may be for a client.</summary>
    public static int UdpLimit(DnsEdns? edns) => Math.Clamp((int)(edns?.PayloadSize ?? MinUdpLength), MinUdpLength, MaxUdpLength);

    /// <summary>Writes an answer with what is the client's own; what does not fit is left out, with TC set, whole records at a time.</summary>
    /// <param name="query">The client's question.</param>
    /// <param name="answer">The answer.</param>
    /// <param name="limit">Octets that the message may have; at least <see cref="MinUdpLength"/>.</param>
    public static byte[] Write(DnsRequest.Query query, DnsAnswer answer, int limit)
    {
        var code = query.Edns is null && (int)answer.Code > MaxCodeWithoutEdns ? DnsResponseCode.ServFail : answer.Code;
        var writer = new DnsWriter(limit);
        writer.Write(query.Question);
        var reserved = query.Edns is null ? 0 : EdnsLength;
        var answers = WriteSection(writer, answer.Answers, query.Question, reserved);
        var whole = answers == answer.Answers.Length;
        var authority = whole ? WriteSection(writer, answer.Authority, query.Question, reserved) : 0;
        whole &= authority == answer.Authority.Length;

        // These are extra: to leave them out is not to truncate (RFC 2181 section 9).
        var additional = whole ? WriteSection(writer, answer.Additional, query.Question, reserved) : 0;
        if (query.Edns is { } edns)
        {
            writer.Write(edns with { PayloadSize = Math.Max(edns.PayloadSize, (ushort)MinUdpLength) }, code);
            additional++;
        }

        var flags = DnsHeader.Response | DnsHeader.RecursionAvailable | ((int)code & 0xF)
            | (answer.Authoritative ? DnsHeader.AuthoritativeAnswer : 0)
            | (answer.Truncated || !whole ? DnsHeader.TruncatedMessage : 0)
            | (query.RecursionDesired ? DnsHeader.RecursionDesired : 0)
            | (query.CheckingDisabled ? DnsHeader.CheckingDisabled : 0)
            | (answer.AuthenticData && (query.AuthenticData || query.Edns is { DnssecOk: true }) ? DnsHeader.AuthenticData : 0);
        return writer.Complete(new DnsHeader(query.Id, (ushort)flags, 1, (ushort)answers, (ushort)authority, (ushort)additional));
    }

    /// <summary>Writes a header alone, for who cannot be answered otherwise.</summary>
    public static byte[] Write(DnsRequest.Refused refused)
    {
        var flags = DnsHeader.Response | DnsHeader.RecursionAvailable | DnsHeader.FlagsOf(refused.Header.Opcode)
            | (refused.Header.Flags & DnsHeader.RecursionDesired) | (int)refused.Code;
        return new DnsWriter(DnsHeader.Length).Complete(new DnsHeader(refused.Header.Id, (ushort)flags, 0, 0, 0, 0));
    }

    /// <summary>Writes a question.</summary>
    public static byte[] Write(DnsRequest.Query query)
    {
        var writer = new DnsWriter(MinUdpLength);
        writer.Write(query.Question);
        if (query.Edns is { } edns)
        {
            writer.Write(edns, DnsResponseCode.NoError);
        }

        var flags = (query.RecursionDesired ? DnsHeader.RecursionDesired : 0)
            | (query.AuthenticData ? DnsHeader.AuthenticData : 0)
            | (query.CheckingDisabled ? DnsHeader.CheckingDisabled : 0);
        return writer.Complete(new DnsHeader(query.Id, (ushort)flags, 1, 0, 0, (ushort)(query.Edns is null ? 0 : 1)));
    }

    // What was kept for others may have the name in their case of letters; a client knows its own again.
    private static int WriteSection(DnsWriter writer, ImmutableArray<DnsRecord> records, DnsQuestion question, int reserved)
    {
        for (var i = 0; i < records.Length; i++)
        {
            var record = records[i].Name.Equals(question.Name) ? records[i] with { Name = question.Name } : records[i];
            if (!writer.TryWrite(record, reserved))
            {
                return i;
            }
        }

        return records.Length;
    }
}
