using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Mesh.Core.Identity;

namespace Mesh.Load.Peers;

/// <summary>A directory with the root that all peers trust, and certificates for those that read files.</summary>
internal sealed class PeerFiles : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-load-");

    public PeerFiles()
    {
        Directory.CreateDirectory(Authority);
        using var made = DevelopmentCertificateAuthority.Open(Authority);
        using var root = X509Certificate2.CreateFromPemFile(Root, Path.Combine(Authority, DevelopmentCertificateAuthority.RootKeyFile));
        Issue(root, "near");
        Issue(root, "far");
    }

    public string Authority => PathOf("ca");

    public string Root => Path.Combine(Authority, DevelopmentCertificateAuthority.RootCertificateFile);

    public string PathOf(string name) => Path.Combine(_directory.FullName, name);

    public string Write(string name, string text)
    {
        File.WriteAllText(PathOf(name), text);
        return PathOf(name);
    }

    public void Dispose() => _directory.Delete(recursive: true);

    // As the development authority issues them, but with a DNS name too: nginx knows no other kind of identity.
    private void Issue(X509Certificate2 root, string name)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddUri(new Uri($"spiffe://cluster.local/ns/load/sa/{name}"));
        names.AddDnsName(name);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(names.Build(critical: false));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new("1.3.6.1.5.5.7.3.1"), new("1.3.6.1.5.5.7.3.2")], critical: false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(root, true, false));
        var now = TimeProvider.System.GetUtcNow();
        using var certificate = request.Create(root, now, now.AddHours(1), RandomNumberGenerator.GetBytes(16));
        var keyPem = key.ExportPkcs8PrivateKeyPem();
        Write($"{name}.crt", certificate.ExportCertificatePem());
        Write($"{name}.key", keyPem);
        Write($"{name}.pem", certificate.ExportCertificatePem() + "\n" + keyPem);
    }
}
