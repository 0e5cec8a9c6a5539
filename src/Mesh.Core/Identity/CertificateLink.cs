using System.Collections.Immutable;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>A certificate of a verified chain, as far as revocation is concerned: who issued it, under which number, with which key.</summary>
public sealed class CertificateLink
{
    private CertificateLink(X509Certificate2 certificate, X509Certificate2 issuer)
    {
        Issuer = certificate.IssuerName.RawData;
        SerialNumber = certificate.SerialNumberBytes.ToArray();
        IssuerKey = issuer.PublicKey.ExportSubjectPublicKeyInfo();
    }

    /// <summary>The issuer's name, DER.</summary>
    public ReadOnlyMemory<byte> Issuer { get; }

    /// <summary>The serial number, big-endian, as in the certificate.</summary>
    public ReadOnlyMemory<byte> SerialNumber { get; }

    /// <summary>The issuer's public key, SubjectPublicKeyInfo in DER.</summary>
    public ReadOnlyMemory<byte> IssuerKey { get; }

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
            links.Add(new CertificateLink(chain[i], chain[i + 1]));
        }

        return links.ToImmutable();
    }
}
