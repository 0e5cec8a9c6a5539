using System.Diagnostics;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Mesh.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Core.Identity;

/// <summary>Revocation lists: what they revoke, whom they are believed from, and files of them that change (ztunnel §3.5, §15.9).</summary>
public sealed class RevocationTests : IDisposable
{
    private readonly X509Certificate2 _root = TestCertificates.Root();
    private readonly X509Certificate2 _intermediate;
    private readonly X509Certificate2 _leaf;
    private readonly string _directory = Directory.CreateTempSubdirectory("mesh-crl-").FullName;

    public RevocationTests()
    {
        _intermediate = TestCertificates.Intermediate(_root);
        _leaf = TestCertificates.Leaf(_intermediate);
    }

    public void Dispose()
    {
        _leaf.Dispose();
        _intermediate.Dispose();
        _root.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void A_revoked_leaf_is_found() => Assert.Equal(
        Convert.ToHexString(_leaf.SerialNumberBytes.Span),
        RevocationLists.Parse(TestCertificates.RevocationList(_intermediate, _leaf)).Find(Chain())?.SerialText);

    [Fact]
    public void A_revoked_intermediate_is_found() => Assert.Equal(
        Convert.ToHexString(_intermediate.SerialNumberBytes.Span),
        RevocationLists.Parse(TestCertificates.RevocationList(_root, _intermediate)).Find(Chain())?.SerialText);

    [Fact]
    public void A_list_of_an_authority_with_the_same_name_and_another_key_revokes_nothing()
    {
        using var impostor = TestCertificates.Intermediate(_root);
        Assert.Null(RevocationLists.Parse(TestCertificates.RevocationList(impostor, _leaf)).Find(Chain()));
    }

    [Fact]
    public void A_list_that_was_changed_after_it_was_signed_revokes_nothing()
    {
        using var other = TestCertificates.Leaf(_intermediate);
        var list = TestCertificates.RevocationList(_intermediate, other);
        var at = list.AsSpan().IndexOf(other.SerialNumberBytes.Span);
        _leaf.SerialNumberBytes.Span.CopyTo(list.AsSpan(at));
        Assert.Null(RevocationLists.Parse(list).Find(Chain()));
    }

    [Fact]
    public void A_certificate_that_is_not_listed_is_not_revoked()
    {
        using var other = TestCertificates.Leaf(_intermediate);
        Assert.Null(RevocationLists.Parse(TestCertificates.RevocationList(_intermediate, other)).Find(Chain()));
    }

    [Fact]
    public void PEM_may_hold_several_lists_and_other_things()
    {
        var text = string.Join(
            '\n',
            _root.ExportCertificatePem(),
            PemEncoding.WriteString("X509 CRL", TestCertificates.RevocationList(_root)),
            "words between",
            PemEncoding.WriteString("X509 CRL", TestCertificates.RevocationList(_intermediate, _leaf)));
        var lists = RevocationLists.Parse(System.Text.Encoding.ASCII.GetBytes(text));
        Assert.Equal((2, 1), (lists.Count, lists.RevokedCount));
        Assert.NotNull(lists.Find(Chain()));
    }

    [Theory]
    [InlineData("")]
    [InlineData(" \n")]
    public void An_empty_file_revokes_nothing(string text) => Assert.Equal(0, RevocationLists.Parse(System.Text.Encoding.ASCII.GetBytes(text)).Count);

    [Fact]
    public void What_is_no_list_is_refused()
    {
        Assert.Throws<CryptographicException>(() => RevocationLists.Parse("no list"u8));
        var list = TestCertificates.RevocationList(_intermediate, _leaf);
        for (var length = 1; length < list.Length; length++)
        {
            Assert.Throws<CryptographicException>(() => RevocationLists.Parse(list.AsSpan(0, length)));
        }
    }

    [Fact]
    public void A_block_of_PEM_that_is_broken_is_not_passed_by()
    {
        var whole = PemEncoding.WriteString("X509 CRL", TestCertificates.RevocationList(_intermediate, _leaf));
        Assert.Throws<CryptographicException>(() => RevocationLists.Parse(System.Text.Encoding.ASCII.GetBytes(whole[..^30])));
        Assert.Throws<CryptographicException>(() => RevocationLists.Parse(System.Text.Encoding.ASCII.GetBytes($"{whole}\n{whole[..^30]}")));
    }

    [Fact]
    public void A_list_whose_signature_cannot_be_verified_is_refused()
    {
        using var key = RSA.Create(2048);
        var name = new X500DistinguishedName("CN=PSS root");
        var list = new CertificateRevocationListBuilder();
        var generator = X509SignatureGenerator.CreateForRSA(key, RSASignaturePadding.Pss);
        var pss = list.Build(name, generator, 1, DateTimeOffset.UtcNow.AddDays(1), HashAlgorithmName.SHA256, new X509AuthorityKeyIdentifierExtension([0x30, 0x00]));
        Assert.Contains("is signed with 1.2.840.113549.1.1.10", Assert.Throws<CryptographicException>(() => RevocationLists.Parse(pss)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Octets_at_random_are_refused_or_revoke_nothing_else()
    {
        var list = TestCertificates.RevocationList(_intermediate);
        var random = new Random(Fuzz.Seed(1));
        for (var i = 0; i < Fuzz.Rounds(2000); i++)
        {
            var changed = list.ToArray();
            for (var n = random.Next(1, 4); n > 0; n--)
            {
                changed[random.Next(changed.Length)] = (byte)random.Next(256);
            }

            try
            {
                Assert.Null(RevocationLists.Parse(changed).Find(Chain()));
            }
            catch (CryptographicException)
            {
                // As it should be.
            }
        }
    }

    [RequiresProgram("openssl", "openssl")]
    public void A_list_that_openssl_made_with_an_rsa_key_is_read()
    {
        Run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=RSA root", "-days", "1");
        Run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf");
        Run("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "leaf.pem", "-days", "1");
        File.WriteAllText(Path.Combine(_directory, "index.txt"), "");
        File.WriteAllText(Path.Combine(_directory, "crlnumber"), "01\n");
        File.WriteAllText(Path.Combine(_directory, "ca.cnf"), "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=1\n");
        Run("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-revoke", "leaf.pem");
        Run("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-gencrl", "-out", "list.pem");
        using var ca = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(_directory, "ca.pem"));
        using var leaf = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(_directory, "leaf.pem"));
        Assert.NotNull(RevocationLists.Parse(File.ReadAllBytes(Path.Combine(_directory, "list.pem"))).Find(CertificateLink.Of([leaf, ca])));
    }

    [Fact]
    public async Task A_file_is_followed_and_keeps_its_last_good_lists()
    {
        var time = new FakeTimeProvider();
        var trust = new TrustBundle();
        var path = Path.Combine(_directory, "crl.pem");
        await using var file = new RevocationFile(path, trust, time, NullLogger.Instance);
        Assert.Equal(0, trust.RevocationLists.Count);

        await ChangeAsync(TestCertificates.RevocationList(_intermediate, _leaf), lists => lists.RevokedCount == 1);
        File.WriteAllText(path, "broken");
        time.Advance(TimeSpan.FromSeconds(2));
        File.Delete(path);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.NotNull(trust.RevocationLists.Find(Chain()));
        await ChangeAsync([], lists => lists.Count == 0);

        async Task ChangeAsync(byte[] content, Predicate<RevocationLists> isSeen)
        {
            File.WriteAllBytes(path, content);
            await Eventually.Until("the file is read", () =>
            {
                time.Advance(TimeSpan.FromSeconds(2));
                return isSeen(trust.RevocationLists);
            });
        }
    }

    private System.Collections.Immutable.ImmutableArray<CertificateLink> Chain() => CertificateLink.Of([_leaf, _intermediate, _root]);

    private void Run(params string[] arguments)
    {
        var start = new ProcessStartInfo("openssl", arguments) { UseShellExecute = false, WorkingDirectory = _directory, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, error);
    }
}
