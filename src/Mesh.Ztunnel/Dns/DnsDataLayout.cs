namespace Mesh.Ztunnel.Dns;

/// <summary>Where the data of a record has names that may be compressed when they come (RFC 3597 section 4); other data is taken as it is.</summary>
/// <param name="Before">Octets before the names.</param>
/// <param name="Names">How many names stand one after the other.</param>
/// <param name="After">Octets after them.</param>
/// <param name="MayCompress">Whether we may compress them when we write: only in the types of RFC 1035.</param>
internal readonly record struct DnsDataLayout(int Before, int Names, int After, bool MayCompress)
{
    public static DnsDataLayout Of(DnsRecordType type) => type switch
    {
        DnsRecordType.Ns or DnsRecordType.Cname or DnsRecordType.Ptr => new(0, 1, 0, true),
        DnsRecordType.Mx => new(2, 1, 0, true),
        DnsRecordType.Soa => new(0, 2, 20, true),
        DnsRecordType.Rp => new(0, 2, 0, false),
        DnsRecordType.Afsdb or DnsRecordType.Rt or DnsRecordType.Kx => new(2, 1, 0, false),
        DnsRecordType.Srv => new(6, 1, 0, false),
        DnsRecordType.Dname => new(0, 1, 0, false),
        _ => default,
    };
}
