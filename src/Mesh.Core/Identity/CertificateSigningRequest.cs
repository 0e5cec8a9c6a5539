using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>A new key, and the request to have it signed (PKCS #10): ECDSA P-256, an empty subject, and one critical name, the SPIFFE ID (ztunnel §4).</summary>
/// <remarks>The key is in memory only. Disposal releases it; certificates that were completed keep theirs.</remarks>
public sealed class CertificateSigningRequest : IDisposable
{
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    /// <summary>Makes a key and the request for it.</summary>
    public CertificateSigningRequest(SpiffeId identity)
    {
        ArgumentNullException.ThrowIfNull(identity);
        var request = new CertificateRequest(new X500DistinguishedName(""), _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(UriSan.Write(identity, critical: true));
        Pem = request.CreateSigningRequestPem();
    }

    /// <summary>The request in PEM form.</summary>
    public string Pem { get; }

    /// <summary>The signed certificate together with the key.</summary>
    /// <exception cref="ArgumentException">The certificate is of another key.</exception>
    public X509Certificate2 Complete(X509Certificate2 certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        return certificate.CopyWithPrivateKey(_key);
    }

    /// <inheritdoc/>
    public void Dispose() => _key.Dispose();
}
