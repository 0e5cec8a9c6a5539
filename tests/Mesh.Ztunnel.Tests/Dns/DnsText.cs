using System.Net;

namespace Mesh.Ztunnel.Dns;

/// <summary>Questions and records as a test writes them.</summary>
internal static class DnsText
{
    public static DnsName Name(string text) => text == "." ? DnsName.Root : DnsName.TryParse(text, out var name) ? name : throw new FormatException(text);

    public static DnsQuestion Question(string name, DnsRecordType type = DnsRecordType.A) => new(Name(name), type, DnsQuestion.Internet);

    public static DnsRequest.Query Query(string name, DnsRecordType type = DnsRecordType.A, ushort id = 4711, DnsEdns? edns = null) =>
        new(id, Question(name, type), RecursionDesired: true, AuthenticData: false, CheckingDisabled: false, edns);

    public static DnsRecord Address(string name, string address, uint timeToLive = 60)
    {
        var parsed = IPAddress.Parse(address);
        return Record(name, address.Contains(':') ? DnsRecordType.Aaaa : DnsRecordType.A, parsed.GetAddressBytes(), timeToLive);
    }

    public static DnsRecord Alias(string name, string target, uint timeToLive = 60) => Record(name, DnsRecordType.Cname, Name(target).Wire.ToArray(), timeToLive);

    /// <summary>An SOA record with the time to live of what is not there.</summary>
    public static DnsRecord Soa(string name, byte minimum, uint timeToLive = 3600) => Record(
        name, DnsRecordType.Soa, [.. Name("ns." + name).Wire, .. Name("admin." + name).Wire, .. new byte[19], minimum], timeToLive);

    public static DnsRecord Record(string name, DnsRecordType type, byte[] data, uint timeToLive = 60) => new(Name(name), type, DnsQuestion.Internet, timeToLive, data);

    /// <summary>An answer in a line: AA, TC, the code, the records; addresses in order.</summary>
    public static string Show(DnsAnswer answer)
    {
        var flags = $"{(answer.Authoritative ? "aa " : "")}{(answer.Truncated ? "tc " : "")}{answer.Code.ToString().ToUpperInvariant()}";
        return string.Join("; ", answer.Answers.Select(Show).OrderBy(text => text.Contains("CNAME") ? 0 : 1).ThenBy(text => text, StringComparer.Ordinal).Prepend(flags));
    }

    public static string Show(DnsRecord record) => record.Type switch
    {
        DnsRecordType.A or DnsRecordType.Aaaa => $"{record.Name} {record.Type.Mnemonic()} {new IPAddress(record.Data.Span)}",
        DnsRecordType.Cname => $"{record.Name} CNAME {DnsName.FromWire(record.Data.Span)}",
        _ => $"{record.Name} {record.Type.Mnemonic()} {Convert.ToHexString(record.Data.Span)}",
    };

    /// <summary>Reads a reply as its client does; AA included.</summary>
    public static DnsAnswer Read(byte[] reply, DnsRequest.Query query)
    {
        Assert.Equal(DnsReplyKind.Answer, DnsReply.Read(reply, query.Id, query.Question, out var answer));
        Assert.True(DnsHeader.TryRead(reply, out var header));
        return answer with { Authoritative = header.Has(DnsHeader.AuthoritativeAnswer) };
    }
}
