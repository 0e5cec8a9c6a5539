using System.Collections.Immutable;

namespace Mesh.Ztunnel.Dns;

/// <summary>What is asked (RFC 1035 section 4.1.2). Equality ignores the case of the name.</summary>
internal readonly record struct DnsQuestion(DnsName Name, DnsRecordType Type, ushort Class)
{
    /// <summary>The Internet, the class of nearly every question.</summary>
    public const ushort Internet = 1;
}

/// <summary>What a client says of itself in an OPT record (RFC 6891 section 6.1).</summary>
/// <param name="PayloadSize">The octets of UDP payload that it takes.</param>
/// <param name="Version">The version of EDNS that it speaks.</param>
/// <param name="DnssecOk">Whether it takes DNSSEC records (RFC 3225).</param>
internal sealed record DnsEdns(ushort PayloadSize, byte Version, bool DnssecOk);

/// <summary>A resource record (RFC 1035 section 4.1.3).</summary>
/// <param name="Name">Whose it is.</param>
/// <param name="Type">What it holds.</param>
/// <param name="Class">Its class.</param>
/// <param name="TimeToLive">For how many seconds it may be kept.</param>
/// <param name="Data">What it says; names in it are not compressed.</param>
internal sealed record DnsRecord(DnsName Name, DnsRecordType Type, ushort Class, uint TimeToLive, ReadOnlyMemory<byte> Data);

/// <summary>An answer, whatever way it came, without what is the client's own: id, question, EDNS.</summary>
internal sealed record DnsAnswer(DnsResponseCode Code)
{
    /// <summary>We could not find out.</summary>
    public static readonly DnsAnswer ServFail = new(DnsResponseCode.ServFail);

    public ImmutableArray<DnsRecord> Answers { get; init; } = [];

    public ImmutableArray<DnsRecord> Authority { get; init; } = [];

    public ImmutableArray<DnsRecord> Additional { get; init; } = [];

    /// <summary>AA: it comes from who knows, which is us for the names of the mesh.</summary>
    public bool Authoritative { get; init; }

    /// <summary>AD: the upstream server has validated it (RFC 4035 section 3.2.3).</summary>
    public bool AuthenticData { get; init; }

    /// <summary>TC: records are missing.</summary>
    public bool Truncated { get; init; }
}
