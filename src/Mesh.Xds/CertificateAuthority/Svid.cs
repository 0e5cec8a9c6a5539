using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Google.Protobuf;
using Mesh.Core.Identity;
using Mesh.Xds.Protos.Spiffe;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>A certificate of a workload as an agent brings it: kept as octets, so that everybody who asks gets one of their own to dispose of.</summary>
internal sealed class Svid
{
    private const int MaxChain = 16;
    private const int MaxBundle = 1024;
    private const string EllipticCurve = "1.2.840.10045.2.1";
    private const string Rsa = "1.2.840.113549.1.1.1";

    private readonly ByteString _chain;
    private readonly ByteString _key;

    /// <summary>Takes one in.</summary>
    /// <exception cref="CertificateAuthorityException">It cannot be used; the message says why.</exception>
    public Svid(X509SVID wire)
    {
        _chain = wire.X509Svid;
        _key = wire.X509SvidKey;
        if (!SpiffeId.TryParse(wire.SpiffeId, out var identity, out var error))
        {
            throw new CertificateAuthorityException($"a certificate has no SPIFFE ID: {error}");
        }

        Identity = identity;
        using var certificate = Create();
        if (certificate.Identity != identity)
        {
            throw new CertificateAuthorityException($"what is said to be the certificate of {identity} is that of {certificate.Identity}");
        }

        NotAfter = certificate.NotAfter;
    }

    public SpiffeId Identity { get; }

    public DateTimeOffset NotAfter { get; }

    /// <summary>The certificate with its key and intermediates; the caller owns it.</summary>
    /// <exception cref="CertificateAuthorityException">The octets are no chain with the key of its leaf.</exception>
    public WorkloadCertificate Create()
    {
        try
        {
            var chain = Certificates(_chain, MaxChain);
            if (chain.Count == 0)
            {
                throw new CertificateAuthorityException($"the certificate of {Identity} is empty");
            }

            using var leaf = chain[0];
            return new WorkloadCertificate(WithKey(leaf), chain.Skip(1));
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new CertificateAuthorityException($"the certificate of {Identity} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Reads certificates in DER form, one behind the other.</summary>
    /// <exception cref="CryptographicException">The octets are something else.</exception>
    public static X509Certificate2Collection Bundle(ByteString octets) => Certificates(octets, MaxBundle);

    private X509Certificate2 WithKey(X509Certificate2 leaf)
    {
        switch (leaf.PublicKey.Oid.Value)
        {
            case EllipticCurve:
                using (var key = ECDsa.Create())
                {
                    key.ImportPkcs8PrivateKey(_key.Span, out _);
                    return leaf.CopyWithPrivateKey(key);
                }

            case Rsa:
                using (var key = RSA.Create())
                {
                    key.ImportPkcs8PrivateKey(_key.Span, out _);
                    return leaf.CopyWithPrivateKey(key);
                }

            default:
                throw new CryptographicException($"its key is of the type {leaf.PublicKey.Oid.Value}; allowed are ECDSA and RSA");
        }
    }

    private static X509Certificate2Collection Certificates(ByteString octets, int max)
    {
        var certificates = new X509Certificate2Collection();
        var rest = octets.Span;
        while (!rest.IsEmpty)
        {
            if (certificates.Count == max)
            {
                throw new CryptographicException($"there are more than {max} certificates");
            }

            int length;
            try
            {
                AsnDecoder.ReadEncodedValue(rest, AsnEncodingRules.DER, out _, out _, out length);
            }
            catch (AsnContentException e)
            {
                throw new CryptographicException("there are octets that are no certificate", e);
            }

            certificates.Add(X509CertificateLoader.LoadCertificate(rest[..length]));
            rest = rest[length..];
        }

        return certificates;
    }
}
