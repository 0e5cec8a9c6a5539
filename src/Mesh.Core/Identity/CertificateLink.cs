using System.Collections.Immutable;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>A certificate of a verified chain, as far as revocation is concerned: who issued it, under which number, with which key.</summary>
/// <param name="Issuer">The issuer's name, DER.</param>
/// <param name="SerialNumber">The serial number, big-endian, as in the certificate.</param>
/// <param name="IssuerKey">The issuer's public key, SubjectPublicKeyInfo in DER.</param>
public sealed record CertificateLink(ReadOnlyMemory<byte> Issuer, ReadOnlyMemory<byte> SerialNumber, ReadOnlyMemory<byte> IssuerKey)
{
    /// <summary>The serial number as certificates show it.</summary>
    public string SerialText => Convert.ToHexString(SerialNumber.Span);

    /// <summary>The links of a chain: its certificates but the root, leaf first.</summary>
    /// <param name="chain">The certificates, leaf first, each followed by its issuer, up to the root.</param>
    public static ImmutableArray<CertificateLink> Of(IReadOnlyList<X509Certificate2> chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        var links = ImmutableArray.CreateBuilder<CertificateLink>(Math.Max(chain.Count - 1, 0));
        for (var i = 0; i + 1 < chain.Count; i++)
        {
            links.Add(new CertificateLink(chain[i].IssuerName.RawData, chain[i].SerialNumberBytes.ToArray(), chain[i + 1].PublicKey.ExportSubjectPublicKeyInfo()));
        }

        return links.ToImmutable();
    }
}
