using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Xds;

/// <summary>Who may vouch for a control plane, and the TLS that follows from it (ztunnel §3.7).</summary>
internal static class ServerRoots
{
    /// <summary>The setting that means the roots of the operating system.</summary>
    public const string System = "SYSTEM";

    private const int MaxFileSize = 16 * 1024 * 1024;

    /// <summary>The PEM text that a setting means; null for the roots of the operating system.</summary>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static string? Read(string setting)
    {
        if (setting == System)
        {
            return null;
        }

        if (setting.Contains("-----BEGIN", StringComparison.Ordinal))
        {
            return setting;
        }

        var file = new FileInfo(setting);
        return !file.Exists ? throw new FileNotFoundException($"the root certificates {setting} are not there", setting)
            : file.Length > MaxFileSize ? throw new IOException($"{setting} has {file.Length} octets; allowed are {MaxFileSize}")
            : File.ReadAllText(setting);
    }

    /// <summary>What a client checks of a server.</summary>
    /// <param name="pem">The roots; null for those of the operating system.</param>
    /// <param name="endpoint">The server.</param>
    /// <exception cref="IOException">The text holds no certificate, or one that is broken.</exception>
    public static SslClientAuthenticationOptions ClientOptions(string? pem, ControlPlaneEndpoint endpoint)
    {
        var host = endpoint.Address.IdnHost;
        var options = new SslClientAuthenticationOptions
        {
            TargetHost = host,
            EnabledSslProtocols = SslProtocols.Tls13,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            RemoteCertificateValidationCallback = (_, certificate, _, errors) => certificate is X509Certificate2 leaf
                && (errors & ~SslPolicyErrors.RemoteCertificateNameMismatch) is SslPolicyErrors.None
                && (errors is SslPolicyErrors.None || (endpoint.AlternativeHostname is { } alternative && leaf.MatchesHostname(alternative, allowCommonName: false))),
        };
        if (pem is not null)
        {
            options.CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
                DisableCertificateDownloads = true,
            };
            options.CertificateChainPolicy.CustomTrustStore.AddRange(Parse(pem));
        }

        if (endpoint.ClientCertificate?.Invoke() is { } own)
        {
            options.ClientCertificateContext = SslStreamCertificateContext.Create(own, additionalCertificates: null, offline: true);
        }

        return options;
    }

    private static X509Certificate2Collection Parse(string pem)
    {
        var roots = new X509Certificate2Collection();
        try
        {
            roots.ImportFromPem(pem);
        }
        catch (CryptographicException e)
        {
            throw new IOException($"the root certificates are not valid PEM: {e.Message}", e);
        }

        return roots.Count > 0 ? roots : throw new IOException("the root certificates hold no certificate in PEM form");
    }
}
