using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Mesh.Core.Identity;

namespace Mesh.Testing;

/// <summary>What a test certificate says. The defaults are those of a good workload certificate.</summary>
public sealed record TestLeaf
{
    public const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";
    public const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    /// <summary>The URI names, in order; none leaves the extension out.</summary>
    public IReadOnlyList<string> Uris { get; init; } = ["spiffe://cluster.local/ns/shop/sa/web"];

    public DateTimeOffset NotBefore { get; init; } = DateTimeOffset.UtcNow.AddMinutes(-1);

    public DateTimeOffset NotAfter { get; init; } = DateTimeOffset.UtcNow.AddHours(1);

    /// <summary>The extended key usages; none leaves the extension out.</summary>
    public IReadOnlyList<string> Usages { get; init; } = [ServerAuthentication, ClientAuthentication];

    public bool IsCertificateAuthority { get; init; }

    public bool SelfSigned { get; init; }
}

/// <summary>Certificates of every shape, good and bad. The certificates with a key can be given to SslStream as they are.</summary>
public static class TestCertificates
{
    private const string SubjectAlternativeName = "2.5.29.17";

    /// <summary>A root with its key, of a name that several may share.</summary>
    public static X509Certificate2 Root(string name = "CN=Test root")
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return AuthorityRequest(key, name).CreateSelfSigned(DateTimeOffset.UtcNow.AddYears(-1), DateTimeOffset.UtcNow.AddYears(5));
    }

    /// <summary>An intermediate authority with its key, signed by a root or another intermediate.</summary>
    public static X509Certificate2 Intermediate(X509Certificate2 issuer, string name = "CN=Test intermediate")
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = AuthorityRequest(key, name);
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(issuer, true, false));
        using var certificate = request.Create(issuer, new DateTimeOffset(issuer.NotBefore), new DateTimeOffset(issuer.NotAfter), RandomNumberGenerator.GetBytes(16));
        return certificate.CopyWithPrivateKey(key);
    }

    /// <summary>The root of a <see cref="DevelopmentCertificateAuthority"/> with its key, read from the directory that it was opened in.</summary>
    public static X509Certificate2 RootOf(string directory) => X509Certificate2.CreateFromPemFile(
        Path.Combine(directory, DevelopmentCertificateAuthority.RootCertificateFile), Path.Combine(directory, DevelopmentCertificateAuthority.RootKeyFile));

    /// <summary>A certificate with its key, signed by the issuer, or by itself when it says so.</summary>
    public static X509Certificate2 Leaf(X509Certificate2 issuer, TestLeaf? shape = null)
    {
        shape ??= new TestLeaf();
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(new X500DistinguishedName(shape.SelfSigned ? "CN=Nobody" : ""), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(shape.IsCertificateAuthority, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(
            X509KeyUsageFlags.DigitalSignature | (shape.IsCertificateAuthority ? X509KeyUsageFlags.KeyCertSign : X509KeyUsageFlags.None), critical: true));
        if (shape.Uris.Count > 0)
        {
            request.CertificateExtensions.Add(UriNames(shape.Uris));
        }

        if (shape.Usages.Count > 0)
        {
            request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([.. shape.Usages.Select(usage => new Oid(usage))], critical: false));
        }

        if (shape.SelfSigned)
        {
            return request.CreateSelfSigned(shape.NotBefore, shape.NotAfter);
        }

        // Roots may share a name; this tells which one signed.
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(issuer, true, false));
        using var certificate = request.Create(issuer, shape.NotBefore, shape.NotAfter, RandomNumberGenerator.GetBytes(16));
        return certificate.CopyWithPrivateKey(key);
    }

    /// <summary>A revocation list of an authority, DER, that revokes these certificates.</summary>
    public static byte[] RevocationList(X509Certificate2 issuer, params X509Certificate2[] revoked)
    {
        var list = new CertificateRevocationListBuilder();
        foreach (var certificate in revoked)
        {
            list.AddEntry(certificate);
        }

        return list.Build(issuer, 1, DateTimeOffset.UtcNow.AddDays(1), HashAlgorithmName.SHA256);
    }

    /// <summary>A Subject Alternative Name extension with nothing but these URI names.</summary>
    public static X509Extension UriNames(IEnumerable<string> uris)
    {
        var writer = new AsnWriter(AsnEncodingRules.DER);
        using (writer.PushSequence())
        {
            foreach (var uri in uris)
            {
                writer.WriteCharacterString(UniversalTagNumber.IA5String, uri, new Asn1Tag(TagClass.ContextSpecific, 6));
            }
        }

        return new X509Extension(SubjectAlternativeName, writer.Encode(), critical: true);
    }

    /// <summary>A self-signed certificate whose Subject Alternative Name extension holds these bytes.</summary>
    public static X509Certificate2 WithSubjectAlternativeName(params byte[] extension)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Raw", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509Extension(SubjectAlternativeName, extension, critical: false));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddHours(1));
    }

    private static CertificateRequest AuthorityRequest(ECDsa key, string name)
    {
        var request = new CertificateRequest(new X500DistinguishedName(name), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        return request;
    }
}
