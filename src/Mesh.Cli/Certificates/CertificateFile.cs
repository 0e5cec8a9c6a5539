using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Mesh.Cli.Certificates;

/// <summary>Certificates of a file.</summary>
/// <param name="Certificates">In the order of the file.</param>
/// <param name="HasPrivateKey">Whether it holds a key too.</param>
internal sealed record CertificateFile(IReadOnlyList<X509Certificate2> Certificates, bool HasPrivateKey)
{
    /// <summary>What is taken of a file, a proxy or a server; a chain has four.</summary>
    public const int MaxCertificates = 1000;

    private const int MaxLength = 16 * 1024 * 1024;

    /// <exception cref="ToolException">The file cannot be read, or holds no certificate.</exception>
    public static async Task<CertificateFile> ReadAsync(string path, CancellationToken stop) => Parse(await Tool.ReadAsync(path, MaxLength, stop), path);

    /// <summary>Reads a certificate with its key and its intermediates.</summary>
    /// <exception cref="ToolException">The files do not hold that.</exception>
    public static async Task<X509Certificate2Collection> ReadWithKeyAsync(string certificatePath, string keyPath, CancellationToken stop)
    {
        var certificates = await ReadAsync(certificatePath, stop);
        var key = Encoding.ASCII.GetString(await Tool.ReadAsync(keyPath, MaxLength, stop));
        try
        {
            using var withKey = X509Certificate2.CreateFromPem(certificates.Certificates[0].ExportCertificatePem(), key);
            return [new X509Certificate2(withKey), .. certificates.Certificates.Skip(1)];
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new ToolException($"{keyPath} holds no private key of the first certificate of {certificatePath}: {e.Message}", e);
        }
    }

    /// <exception cref="ToolException">The octets hold no certificate, or one that is broken.</exception>
    public static CertificateFile Parse(byte[] octets, string what)
    {
        try
        {
            if (octets is [0x30, >= 0x80, ..])
            {
                return new CertificateFile([X509CertificateLoader.LoadCertificate(octets)], HasPrivateKey: false);
            }

            var certificates = new List<X509Certificate2>();
            var hasPrivateKey = false;
            ReadOnlySpan<char> rest = Encoding.ASCII.GetString(octets);
            while (PemEncoding.TryFind(rest, out var block))
            {
                var label = rest[block.Label];
                hasPrivateKey |= label.EndsWith("PRIVATE KEY", StringComparison.Ordinal);
                if (label is "CERTIFICATE" or "TRUSTED CERTIFICATE" or "X509 CERTIFICATE")
                {
                    if (certificates.Count == MaxCertificates)
                    {
                        throw new ToolException($"{what} has more than {MaxCertificates} certificates, which is the limit");
                    }

                    certificates.Add(X509CertificateLoader.LoadCertificate(Convert.FromBase64String(rest[block.Base64Data].ToString())));
                }

                rest = rest[block.Location.End..];
            }

            return certificates.Count > 0
                ? new CertificateFile(certificates, hasPrivateKey)
                : throw new ToolException($"{what} holds no certificate in PEM or DER form{(hasPrivateKey ? ", but a private key" : "")}");
        }
        catch (Exception e) when (e is CryptographicException or FormatException)
        {
            throw new ToolException($"{what} holds a certificate that cannot be read: {e.Message}", e);
        }
    }
}
