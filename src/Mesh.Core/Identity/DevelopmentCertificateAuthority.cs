using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>A certificate authority with a root in memory or in a directory: it signs whatever it is asked for. By itself for development and tests alone.</summary>
/// <remarks>
/// Its root is trusted for the trust domains that it has signed for, and for those named when it was made.
/// Leaves are ECDSA P-256 with one critical URI SAN and both extended key usages. Thread-safe.
/// </remarks>
public sealed class DevelopmentCertificateAuthority : ICertificateAuthority, IDisposable
{
    /// <summary>The file of the root certificate in a directory given to <see cref="Open"/>.</summary>
    public const string RootCertificateFile = "root-cert.pem";

    /// <summary>The file of the root's private key in a directory given to <see cref="Open"/>.</summary>
    public const string RootKeyFile = "root-key.pem";

    private static readonly X500DistinguishedName RootName = new("CN=Mesh development root");
    private static readonly TimeSpan RootLifetime = TimeSpan.FromDays(3650);

    // Machines that share a root may disagree a little about the time; what lives shortly is dated back by less.
    private static readonly TimeSpan ClockSkew = TimeSpan.FromMinutes(1);

    private const string LockFile = ".lock";
    private static readonly TimeSpan LockTimeout = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private readonly X509Certificate2 _root;
    private readonly TimeProvider _time;

    private DevelopmentCertificateAuthority(X509Certificate2 root, TimeProvider time)
    {
        _root = root;
        _time = time;
        Root = X509CertificateLoader.LoadCertificate(root.RawData);
    }

    /// <summary>The root certificate, without its key.</summary>
    public X509Certificate2 Root { get; }

    /// <inheritdoc/>
    public TrustBundle TrustBundle { get; } = new();

    /// <summary>How long the certificates it signs are valid. One hour unless set; at least two seconds.</summary>
    public TimeSpan Lifetime
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.FromSeconds(2));
            field = value;
        }
    } = TimeSpan.FromHours(1);

    /// <summary>Makes an authority whose root exists in memory alone.</summary>
    public static DevelopmentCertificateAuthority Create(TimeProvider? time = null)
    {
        time ??= TimeProvider.System;
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return new DevelopmentCertificateAuthority(SelfSign(key, time), time);
    }

    /// <summary>Opens the root kept in a directory, and makes directory and root when they are absent.</summary>
    /// <remarks>
    /// Several processes may open an empty directory at once; all get the same root. The key file is made readable by its owner alone.
    /// This is the only place where Mesh writes a private key to disk.
    /// </remarks>
    /// <exception cref="CertificateAuthorityException">What the directory holds cannot be used; the message names the file and the fault.</exception>
    public static DevelopmentCertificateAuthority Open(string directory, TimeSpan? lifetime = null, TimeProvider? time = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        time ??= TimeProvider.System;
        var keyPath = Path.Combine(directory, RootKeyFile);
        var certificatePath = Path.Combine(directory, RootCertificateFile);
        try
        {
            Directory.CreateDirectory(directory);

            // Nothing is written where all is there: the directory may be one that cannot be written to.
            using var turn = File.Exists(keyPath) && File.Exists(certificatePath) ? null : TakeTurn(directory);
            if (!File.Exists(keyPath))
            {
                if (File.Exists(certificatePath))
                {
                    throw new CertificateAuthorityException($"{certificatePath} is there but {keyPath} is not; put the key back, or remove the certificate to have both made anew");
                }

                using var made = ECDsa.Create(ECCurve.NamedCurves.nistP256);
                Publish(keyPath, made.ExportPkcs8PrivateKeyPem(), UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            // A certificate that is missing follows from the key.
            using var key = ReadKey(keyPath);
            if (!File.Exists(certificatePath))
            {
                using var made = SelfSign(key, time);
                Publish(
                    certificatePath,
                    made.ExportCertificatePem() + "\n",
                    UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
            }

            var root = ReadRoot(certificatePath, key, time);
            return new DevelopmentCertificateAuthority(root, time) { Lifetime = lifetime ?? TimeSpan.FromHours(1) };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CertificateAuthorityException($"{directory}: {e.Message}", e);
        }
    }

    /// <summary>Makes a key and signs a certificate for <paramref name="identity"/>, valid from a minute ago or a tenth of its lifetime. The caller owns the result.</summary>
    public WorkloadCertificate Issue(SpiffeId identity)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = Sign(identity, new PublicKey(key), Lifetime);
        return new WorkloadCertificate(certificate.CopyWithPrivateKey(key));
    }

    /// <summary>Signs a certificate of a workload for a key that somebody else has, valid from a minute ago or a tenth of its lifetime. The caller owns the result.</summary>
    /// <param name="identity">The identity. That the key's owner may have it, is for the caller to know.</param>
    /// <param name="key">The public key.</param>
    /// <param name="lifetime">How long it is to be valid; not longer than the root is.</param>
    public X509Certificate2 Sign(SpiffeId identity, PublicKey key, TimeSpan lifetime)
    {
        ArgumentNullException.ThrowIfNull(identity);
        ArgumentNullException.ThrowIfNull(key);
        Trust(identity.TrustDomain);
        return Sign(UriSan.Write(identity, critical: true), key, lifetime);
    }

    /// <summary>Makes a key and signs a certificate by which a server is known by DNS names and IP addresses, such as a control plane. The caller owns the result.</summary>
    /// <param name="names">The names and addresses.</param>
    public X509Certificate2 IssueServer(IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var san = new SubjectAlternativeNameBuilder();
        foreach (var name in names)
        {
            if (IPAddress.TryParse(name, out var address))
            {
                san.AddIpAddress(address);
            }
            else
            {
                san.AddDnsName(name);
            }
        }

        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = Sign(san.Build(critical: true), new PublicKey(key), Lifetime);
        return certificate.CopyWithPrivateKey(key);
    }

    private X509Certificate2 Sign(X509Extension names, PublicKey key, TimeSpan lifetime)
    {
        var request = new CertificateRequest(new X500DistinguishedName(""), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(names);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new("1.3.6.1.5.5.7.3.1"), new("1.3.6.1.5.5.7.3.2")], critical: false));
        if (_root.Extensions.OfType<X509SubjectKeyIdentifierExtension>().Any())
        {
            request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(_root, true, false));
        }

        // Not longer than the root, either way: its maker's clock may be ahead of ours.
        var now = _time.GetUtcNow();
        var notBefore = Later(now - (lifetime / 10 < ClockSkew ? lifetime / 10 : ClockSkew), new DateTimeOffset(_root.NotBefore.ToUniversalTime()));
        var notAfter = Earlier(now + lifetime, new DateTimeOffset(_root.NotAfter.ToUniversalTime()));
        if (notBefore >= notAfter)
        {
            throw new CertificateAuthorityException($"the root expired at {notAfter:u}; it is {now:u}");
        }

        using var rootKey = _root.GetECDsaPrivateKey()!;
        return request.Create(_root.SubjectName, X509SignatureGenerator.CreateForECDsa(rootKey), notBefore, notAfter, RandomNumberGenerator.GetBytes(16));
    }

    /// <inheritdoc/>
    public Task<WorkloadCertificate> IssueAsync(SpiffeId identity, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return Task.FromResult(Issue(identity));
    }

    /// <summary>Makes the root an accepted one for a trust domain, as <see cref="Issue"/> does for that of its identity.</summary>
    public void Trust(TrustDomain trustDomain)
    {
        lock (_gate)
        {
            if (TrustBundle.RootsOf(trustDomain).IsEmpty)
            {
                TrustBundle.Replace(trustDomain, [Root]);
            }
        }
    }

    /// <summary>Releases the root's key. The trust bundle stays usable.</summary>
    public void Dispose() => _root.Dispose();

    private static DateTimeOffset Later(DateTimeOffset left, DateTimeOffset right) => left > right ? left : right;

    private static DateTimeOffset Earlier(DateTimeOffset left, DateTimeOffset right) => left < right ? left : right;

    private static X509Certificate2 SelfSign(ECDsa key, TimeProvider time)
    {
        var request = new CertificateRequest(RootName, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        var now = time.GetUtcNow();
        return request.CreateSelfSigned(now - ClockSkew, now + RootLifetime);
    }

    // One process at a time looks at the directory; the lock goes with the handle, however its process ends.
    private static FileStream TakeTurn(string directory)
    {
        FileStream? turn = null;
        SpinWait.SpinUntil(
            () =>
            {
                try
                {
                    turn = new FileStream(Path.Combine(directory, LockFile), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
                    return true;
                }
                catch (IOException)
                {
                    return false;
                }
            },
            LockTimeout);
        return turn ?? throw new CertificateAuthorityException($"{directory} is in use by another process, or cannot be written to");
    }

    // Written beside and moved, so that a crash leaves no half of a file.
    private static void Publish(string path, string content, UnixFileMode mode)
    {
        var draft = $"{path}.new";
        File.Delete(draft);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = mode;
        }

        using (var writer = new StreamWriter(draft, options))
        {
            writer.Write(content);
        }

        File.Move(draft, path);
    }

    private static ECDsa ReadKey(string path)
    {
        var key = ECDsa.Create();
        try
        {
            key.ImportFromPem(File.ReadAllText(path));
            return key;
        }
        catch (Exception e) when (e is ArgumentException or CryptographicException)
        {
            key.Dispose();
            throw new CertificateAuthorityException($"{path} is not one unencrypted EC private key in PEM form: {e.Message}", e);
        }
    }

    private static X509Certificate2 ReadRoot(string path, ECDsa key, TimeProvider time)
    {
        try
        {
            using var certificate = X509CertificateLoader.LoadCertificateFromFile(path);
            var now = time.GetUtcNow().UtcDateTime;
            if (!certificate.Extensions.OfType<X509BasicConstraintsExtension>().Any(constraints => constraints.CertificateAuthority))
            {
                throw new CertificateAuthorityException($"{path} is not a CA certificate");
            }

            if (certificate.NotAfter.ToUniversalTime() < now)
            {
                throw new CertificateAuthorityException($"{path} expired at {certificate.NotAfter.ToUniversalTime():u}; remove it to have it made anew from the same key");
            }

            return certificate.CopyWithPrivateKey(key);
        }
        catch (Exception e) when (e is ArgumentException or CryptographicException)
        {
            throw new CertificateAuthorityException($"{path} does not fit {RootKeyFile}: {e.Message}", e);
        }
    }
}
