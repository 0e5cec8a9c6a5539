using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Mesh.Testing;

namespace Mesh.Core.Identity;

public sealed class DevelopmentCertificateAuthorityTests : IDisposable
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private readonly string _directory = Path.Combine(Path.GetTempPath(), $"mesh-{Guid.NewGuid():N}");

    private string KeyPath => Path.Combine(_directory, DevelopmentCertificateAuthority.RootKeyFile);

    private string CertificatePath => Path.Combine(_directory, DevelopmentCertificateAuthority.RootCertificateFile);

    public void Dispose()
    {
        if (Directory.Exists(_directory))
        {
            Directory.Delete(_directory, recursive: true);
        }
    }

    [Fact]
    public void A_leaf_has_one_critical_uri_name()
    {
        using var certificate = Issue();
        Assert.True(certificate.Leaf.Extensions[UriSan.SubjectAlternativeName]!.Critical);
        Assert.Equal([Web.ToString()], UriSan.Read(certificate.Leaf));
    }

    [Fact]
    public void A_leaf_may_serve_either_side_of_a_connection()
    {
        using var certificate = Issue();
        var usages = certificate.Leaf.Extensions.OfType<X509EnhancedKeyUsageExtension>().Single().EnhancedKeyUsages;
        Assert.Equal([TestLeaf.ServerAuthentication, TestLeaf.ClientAuthentication], usages.Cast<Oid>().Select(usage => usage.Value));
    }

    [Fact]
    public void A_leaf_has_a_key_of_p256()
    {
        using var certificate = Issue();
        using var key = certificate.Leaf.GetECDsaPrivateKey()!;
        Assert.Equal(ECCurve.NamedCurves.nistP256.Oid.Value, key.ExportParameters(false).Curve.Oid.Value);
    }

    [Fact]
    public void A_leaf_is_not_a_certificate_authority()
    {
        using var certificate = Issue();
        Assert.False(certificate.Leaf.Extensions.OfType<X509BasicConstraintsExtension>().Single().CertificateAuthority);
    }

    [Fact]
    public void A_leaf_signs_and_nothing_else()
    {
        using var certificate = Issue();
        Assert.Equal(X509KeyUsageFlags.DigitalSignature, certificate.Leaf.Extensions.OfType<X509KeyUsageExtension>().Single().KeyUsages);
    }

    [Fact]
    public void A_leaf_has_no_subject()
    {
        using var certificate = Issue();
        Assert.Equal("", certificate.Leaf.Subject);
    }

    [Fact]
    public void Each_leaf_has_a_key_of_its_own()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        using var first = authority.Issue(Web);
        using var second = authority.Issue(Web);
        Assert.NotEqual(first.Leaf.GetPublicKeyString(), second.Leaf.GetPublicKeyString());
    }

    [Fact]
    public void A_leaf_is_valid_from_a_minute_ago_for_the_lifetime()
    {
        var time = new FakeTimeProvider();
        using var authority = DevelopmentCertificateAuthority.Open(_directory, TimeSpan.FromMinutes(10), time);
        using var certificate = authority.Issue(Web);
        Assert.Equal((time.GetUtcNow().AddMinutes(-1), time.GetUtcNow().AddMinutes(10)), (certificate.NotBefore, certificate.NotAfter));
    }

    [Fact]
    public void A_lifetime_of_less_than_two_seconds_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => DevelopmentCertificateAuthority.Open(_directory, TimeSpan.FromSeconds(1)));

    [Fact]
    public void Issuing_makes_the_root_trusted_for_the_trust_domain()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        using var certificate = authority.Issue(Web);
        Assert.Same(authority.Root, Assert.Single(authority.TrustBundle.RootsOf(Web.TrustDomain)));
    }

    [Fact]
    public void The_root_is_shown_without_its_key()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        Assert.False(authority.Root.HasPrivateKey);
    }

    [Fact]
    public void A_directory_that_is_absent_is_made_with_certificate_and_key()
    {
        using var authority = DevelopmentCertificateAuthority.Open(_directory);
        Assert.Equal([CertificatePath, KeyPath], Directory.GetFiles(_directory, "*.pem").Order());
    }

    [Fact]
    public void The_key_file_is_readable_by_its_owner_alone()
    {
        using var authority = DevelopmentCertificateAuthority.Open(_directory);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(KeyPath));
        }
    }

    [Fact]
    public void A_directory_opened_again_has_the_same_root()
    {
        using var first = DevelopmentCertificateAuthority.Open(_directory);
        using var second = DevelopmentCertificateAuthority.Open(_directory);
        Assert.Equal(first.Root.Thumbprint, second.Root.Thumbprint);
    }

    [Fact]
    public void A_certificate_that_was_removed_is_made_anew_from_the_same_key()
    {
        using var first = DevelopmentCertificateAuthority.Open(_directory);
        File.Delete(CertificatePath);
        using var second = DevelopmentCertificateAuthority.Open(_directory);
        Assert.Equal(first.Root.GetPublicKeyString(), second.Root.GetPublicKeyString());
    }

    [Fact]
    public void A_certificate_without_its_key_is_an_error()
    {
        DevelopmentCertificateAuthority.Open(_directory).Dispose();
        File.Delete(KeyPath);
        Assert.StartsWith($"{CertificatePath} is there but {KeyPath} is not", OpenError());
    }

    [Fact]
    public void A_key_that_is_not_that_of_the_certificate_is_an_error()
    {
        DevelopmentCertificateAuthority.Open(_directory).Dispose();
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        File.WriteAllText(KeyPath, other.ExportPkcs8PrivateKeyPem());
        Assert.StartsWith($"{CertificatePath} does not fit root-key.pem", OpenError());
    }

    [Fact]
    public void A_key_of_rsa_is_an_error()
    {
        DevelopmentCertificateAuthority.Open(_directory).Dispose();
        using var other = RSA.Create(2048);
        File.WriteAllText(KeyPath, other.ExportPkcs8PrivateKeyPem());
        Assert.StartsWith($"{KeyPath} is not one unencrypted EC private key in PEM form", OpenError());
    }

    [Theory]
    [InlineData("")]
    [InlineData("not a key")]
    [InlineData("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")]
    public void A_key_file_of_garbage_is_an_error(string garbage)
    {
        DevelopmentCertificateAuthority.Open(_directory).Dispose();
        File.WriteAllText(KeyPath, garbage);
        Assert.StartsWith($"{KeyPath} is not one unencrypted EC private key in PEM form", OpenError());
    }

    [Theory]
    [InlineData("")]
    [InlineData("not a certificate")]
    public void A_certificate_file_of_garbage_is_an_error(string garbage)
    {
        DevelopmentCertificateAuthority.Open(_directory).Dispose();
        File.WriteAllText(CertificatePath, garbage);
        Assert.StartsWith(CertificatePath, OpenError());
    }

    [Fact]
    public void A_root_that_is_not_a_certificate_authority_is_an_error()
    {
        DevelopmentCertificateAuthority.Open(_directory).Dispose();
        using var root = TestCertificates.RootOf(_directory);
        using var leaf = TestCertificates.Leaf(root);
        using var key = leaf.GetECDsaPrivateKey()!;
        File.WriteAllText(CertificatePath, leaf.ExportCertificatePem());
        File.WriteAllText(KeyPath, key.ExportPkcs8PrivateKeyPem());
        Assert.Equal($"{CertificatePath} is not a CA certificate", OpenError());
    }

    [Fact]
    public void A_root_that_has_expired_is_an_error()
    {
        var time = new FakeTimeProvider();
        DevelopmentCertificateAuthority.Open(_directory, time: time).Dispose();
        time.Advance(TimeSpan.FromDays(3651));
        Assert.StartsWith(
            $"{CertificatePath} expired at",
            Assert.Throws<CertificateAuthorityException>(() => DevelopmentCertificateAuthority.Open(_directory, time: time)).Message);
    }

    [Fact]
    public void A_directory_that_cannot_be_made_is_an_error()
    {
        File.WriteAllText(_directory, "in the way");
        try
        {
            Assert.StartsWith(_directory, OpenError());
        }
        finally
        {
            File.Delete(_directory);
        }
    }

    [Fact]
    public void A_machine_whose_clock_is_a_little_behind_can_issue_too()
    {
        var ahead = new FakeTimeProvider();
        DevelopmentCertificateAuthority.Open(_directory, time: ahead).Dispose();
        using var authority = DevelopmentCertificateAuthority.Open(_directory, time: new FakeTimeProvider(ahead.GetUtcNow().AddSeconds(-30)));
        using var certificate = authority.Issue(Web);
        Assert.Equal(Web, certificate.Identity);
    }

    [Fact]
    public void A_leaf_ends_with_its_root_at_the_latest()
    {
        var time = new FakeTimeProvider();
        using var authority = DevelopmentCertificateAuthority.Open(_directory, TimeSpan.FromDays(1), time);
        time.Advance(TimeSpan.FromDays(3650) - TimeSpan.FromHours(1));
        using var certificate = authority.Issue(Web);
        Assert.Equal(authority.Root.NotAfter.ToUniversalTime(), certificate.NotAfter.UtcDateTime);
    }

    [Fact]
    public async Task Several_that_open_an_empty_directory_at_once_agree_on_the_root()
    {
        for (var round = 0; round < 500; round++)
        {
            using var start = new Barrier(6);
            var roots = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => Task.Factory.StartNew(
                () =>
                {
                    start.SignalAndWait();
                    return OpenRoot();
                },
                CancellationToken.None,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default))).InTime();
            Assert.Single(roots.Distinct());
            Directory.Delete(_directory, recursive: true);
        }
    }

    private string OpenRoot()
    {
        using var authority = DevelopmentCertificateAuthority.Open(_directory);
        return authority.Root.Thumbprint;
    }

    private static WorkloadCertificate Issue()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        return authority.Issue(Web);
    }

    private string OpenError() => Assert.Throws<CertificateAuthorityException>(() => DevelopmentCertificateAuthority.Open(_directory)).Message;
}
