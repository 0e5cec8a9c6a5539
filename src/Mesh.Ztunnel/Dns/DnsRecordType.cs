using System.Globalization;

namespace Mesh.Ztunnel.Dns;

/// <summary>What a record holds, or a question asks for (RFC 1035 section 3.2.2 and later ones). Any other number is a type, too.</summary>
internal enum DnsRecordType : ushort
{
    A = 1,
    Ns = 2,
    Cname = 5,
    Soa = 6,
    Ptr = 12,
    Hinfo = 13,
    Mx = 15,
    Txt = 16,
    Rp = 17,
    Afsdb = 18,
    Rt = 21,
    Aaaa = 28,
    Srv = 33,
    Naptr = 35,
    Kx = 36,
    Dname = 39,
    Opt = 41,
    Ds = 43,
    Rrsig = 46,
    Nsec = 47,
    Dnskey = 48,
    Tlsa = 52,
    Svcb = 64,
    Https = 65,
    Ixfr = 251,
    Axfr = 252,
    Any = 255,
    Caa = 257,
}

/// <summary>The names of types.</summary>
internal static class DnsRecordTypes
{
    /// <summary>The mnemonic; <c>TYPE65280</c> for a type that we have no name for (RFC 3597 section 5).</summary>
    public static string Mnemonic(this DnsRecordType type) => IsNamed(type)
        ? type.ToString().ToUpperInvariant()
        : string.Create(CultureInfo.InvariantCulture, $"TYPE{(int)type}");

    /// <summary>The mnemonic; <c>unknown</c> for a type that we have no name for, so that who asks cannot make series without end.</summary>
    public static string Tag(this DnsRecordType type) => IsNamed(type) ? Mnemonic(type) : "unknown";

    private static bool IsNamed(DnsRecordType type) => Enum.IsDefined(type);
}
