using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using Mesh.Core.Identity;
using Mesh.Testing;

namespace Mesh.Cli.Certificates;

/// <summary><c>mesh certs</c> on files, on an admin port and on live servers.</summary>
public sealed class CertificatesCommandTests : IDisposable
{
    private static readonly DateTimeOffset Now = new(2026, 6, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-certs-");
    private readonly X509Certificate2 _root = TestCertificates.Root("CN=Shop root");

    public void Dispose()
    {
        _root.Dispose();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task A_file_is_shown_certificate_by_certificate()
    {
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()], NotBefore = Now.AddHours(-12), NotAfter = Now.AddHours(12).AddMinutes(5) });
        var (status, output, error) = await CertsAsync("file", Write("chain.pem", leaf.ExportCertificatePem(), _root.ExportCertificatePem(), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----"));

        Assert.Equal((0, ""), (status, error));
        Assert.StartsWith(
            $"""
            certificate 1 of 2, a leaf
              SPIFFE ID   {Web}
              subject     (empty)
              issuer      CN=Shop root
              valid       2026-06-01 00:00:00Z to 2026-06-02 00:05:00Z, 1 d; 12 h 5 min left
              serial      {leaf.SerialNumber}
              key         ECDSA P-256, signed with sha256ECDSA
              SHA-256     {leaf.GetCertHashString(HashAlgorithmName.SHA256)}
            certificate 2 of 2, a root
              subject     CN=Shop root

            """,
            output,
            StringComparison.Ordinal);
        Assert.Contains("the file holds a private key too, which is not shown", output, StringComparison.Ordinal);
        Assert.DoesNotContain("MAA=", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DER_is_as_good_and_other_keys_and_names_are_named()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=web", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("web.shop");
        names.AddIpAddress(IPAddress.Parse("10.0.0.1"));
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(Now.AddDays(1).AddHours(2), Now.AddDays(90));
        var path = Path.Combine(_directory.FullName, "web.der");
        await File.WriteAllBytesAsync(path, certificate.RawData);
        var (_, output, _) = await CertsAsync("file", path);

        Assert.Contains("SPIFFE ID   none: the certificate has no URI name (SAN), so no SPIFFE ID", output, StringComparison.Ordinal);
        Assert.Contains("names       web.shop, 10.0.0.1", output, StringComparison.Ordinal);
        Assert.Contains("RSA 2048 bits", output, StringComparison.Ordinal);
        Assert.Contains("not valid before 1 d 2 h have passed", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, "0 s")]
    [InlineData(59, "59 s")]
    [InlineData(60, "1 min")]
    [InlineData(3_601, "1 h")]
    [InlineData(86_399, "23 h 59 min")]
    [InlineData(86_400 + 7_200 + 59, "1 d 2 h")]
    [InlineData(86_400 * 3650L, "3650 d")]
    public void Durations_have_the_two_units_that_matter(long seconds, string expected) => Assert.Equal(expected, CertificateText.Duration(TimeSpan.FromSeconds(seconds)));

    [Fact]
    public async Task Names_that_would_move_the_cursor_are_made_harmless()
    {
        using var certificate = TestCertificates.Root("CN=\"a\u001b[2Jb\r\n\u202ec\"");
        var (_, output, _) = await CertsAsync("file", Write("evil.pem", certificate.ExportCertificatePem()));

        Assert.DoesNotContain("\u001b", output, StringComparison.Ordinal);
        Assert.DoesNotContain("\u202e", output, StringComparison.Ordinal);
        Assert.Contains("a?[2Jb", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, "cannot be read")]
    [InlineData("", "holds no certificate in PEM or DER form")]
    [InlineData("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", "holds no certificate in PEM or DER form, but a private key")]
    [InlineData("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "holds a certificate that cannot be read")]
    [InlineData("0\u0082\u0001", "holds a certificate that cannot be read")]
    public async Task A_file_that_holds_none_is_said_to_be_so(string? content, string reason)
    {
        var path = Path.Combine(_directory.FullName, "bad.pem");
        if (content is not null)
        {
            await File.WriteAllTextAsync(path, content, Encoding.Latin1);
        }

        var (status, output, error) = await CertsAsync("file", path);
        Assert.Equal((1, ""), (status, output));
        Assert.Contains($"{path} ", error, StringComparison.Ordinal);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Files_without_an_end_and_floods_of_certificates_are_bounded()
    {
        Assert.Contains("more than 16777216 octets", (await CertsAsync("file", "/dev/zero")).Error, StringComparison.Ordinal);
        var pem = _root.ExportCertificatePem() + "\n";
        Assert.Contains("more than 1000 certificates", (await CertsAsync("file", Write("flood.pem", string.Concat(Enumerable.Repeat(pem, 1001))))).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/certificates")]
    [InlineData("/config_dump")]
    public async Task A_proxy_shows_the_chain_and_roots_of_each_identity(string servedAt)
    {
        using var web = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()] });
        var list = new[]
        {
            new { identity = Web.ToString(), state = "Available", certChain = new[] { Pem(web) }, rootCerts = new[] { Pem(_root) } },
            new { identity = Cart.ToString(), state = "Unavailable: the pod is not on this node", certChain = Array.Empty<object>(), rootCerts = new[] { Pem(_root) } },
        };
        await using var admin = new AdminPort(servedAt, JsonSerializer.Serialize(servedAt is "/certificates" ? (object)list : new { workloads = Array.Empty<object>(), certificates = list }));
        var (status, output, error) = await CertsAsync("proxy", "--address", admin.Address);

        Assert.Equal((0, ""), (status, error));
        Assert.Matches($"(?m)^{Web}\n  state         Available\n  leaf\n    SPIFFE ID   {Web}\n", output);
        Assert.Contains("  root 1 of 1\n    subject     CN=Shop root\n", output, StringComparison.Ordinal);
        Assert.Contains($"{Cart}\n  state         Unavailable: the pod is not on this node\n  roots         as above: ", output, StringComparison.Ordinal);

        static object Pem(X509Certificate2 certificate) => new { pem = Convert.ToBase64String(Encoding.ASCII.GetBytes(certificate.ExportCertificatePem())) };
    }

    [Theory]
    [InlineData("/other", "[]", "answered with status 404")]
    [InlineData("/certificates", "<html>", "answered with something else than a ztunnel's certificates")]
    [InlineData("/certificates", "[{}]", "answered with something else than a ztunnel's certificates")]
    [InlineData("/certificates", "[1]", "answered with something else than a ztunnel's certificates")]
    [InlineData("/certificates", """[{"identity":"a","state":"b","certChain":[{"pem":"!"}]}]""", "answered with something else than a ztunnel's certificates")]
    [InlineData("/certificates", """[{"identity":"a","state":"b","certChain":[{"pem":"AAAA"}]}]""", "certChain holds no certificate")]
    public async Task What_is_no_admin_port_is_said_to_be_none(string servedAt, string body, string reason)
    {
        await using var admin = new AdminPort(servedAt, body);
        var (status, _, error) = await CertsAsync("proxy", "--address", admin.Address);
        Assert.Equal(1, status);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("proxy", "--address", "127.0.0.1:1", "cannot be read")]
    [InlineData("connect", "127.0.0.1:1", null, "cannot be connected to")]
    [InlineData("proxy", "--address", "localhost", "allowed is host:port")]
    [InlineData("connect", "::1:443", null, "allowed is host:port, with an IPv6 address in brackets")]
    [InlineData("connect", "localhost:70000", null, "allowed is host:port")]
    public async Task An_address_without_an_answer_is_a_failure(string command, string first, string? second, string reason)
    {
        var (status, _, error) = await CertsAsync(second is null ? [command, first] : [command, first, second]);
        Assert.Equal(1, status);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_of_the_mesh_shows_who_it_is_to_who_shows_a_certificate()
    {
        using var intermediate = TestCertificates.Intermediate(_root);
        using var cart = new WorkloadCertificate(TestCertificates.Leaf(intermediate, new TestLeaf { Uris = [Cart.ToString()] }), X509CertificateLoader.LoadCertificate(intermediate.RawData));
        await using var server = new MeshServer(cart, _root);
        using var web = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()] });
        using var key = web.GetECDsaPrivateKey()!;
        var certificate = Write("web.pem", web.ExportCertificatePem(), key.ExportPkcs8PrivateKeyPem());
        var (status, output, error) = await CertsAsync("connect", server.Address, "--cert", certificate, "--root", Write("root.pem", _root.ExportCertificatePem()), "--expect", Cart.ToString());

        Assert.Equal((0, ""), (status, error));
        Assert.Contains("  protocol      TLS 1.3\n", output, StringComparison.Ordinal);
        Assert.Contains("  ALPN          h2\n", output, StringComparison.Ordinal);
        Assert.Contains("  trust         the given roots vouch for it\n", output, StringComparison.Ordinal);
        Assert.DoesNotContain("refused", output, StringComparison.Ordinal);
        Assert.Contains($"  leaf\n    SPIFFE ID   {Cart}\n", output, StringComparison.Ordinal);
        Assert.Contains("  presented 1\n    subject     CN=Test intermediate\n", output, StringComparison.Ordinal);
        Assert.Contains("  given root 1 of 1\n    subject     CN=Shop root\n", output, StringComparison.Ordinal);
        Assert.Equal(Web, server.Peer.Identity);

        Assert.Equal((1, $"{server.Address} is not {Web}\n"), await FailureAsync("connect", server.Address, "--cert", certificate, "--expect", Web.ToString()));
    }

    [Fact]
    public async Task Without_a_certificate_the_server_is_seen_all_the_same_and_its_refusal_too()
    {
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Cart.ToString()] });
        using var cart = new WorkloadCertificate(leaf);
        await using var server = new MeshServer(cart, _root);
        var (status, output, _) = await CertsAsync("connect", server.Address);

        Assert.Equal(0, status);
        Assert.Contains(Cart.ToString(), output, StringComparison.Ordinal);
        Assert.Matches("  refused       the server ended the handshake: .*; it may want a client certificate, see --cert\n", output);
        Assert.Contains("  trust         not looked at, without --root\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_the_roots_do_not_vouch_for_is_a_failure_and_shown()
    {
        using var other = TestCertificates.Root("CN=Shop root");
        using var leaf = TestCertificates.Leaf(_root, new TestLeaf { Uris = [Cart.ToString()] });
        using var cart = new WorkloadCertificate(leaf);
        await using var server = new MeshServer(cart, _root);
        var (status, output, error) = await CertsAsync("connect", server.Address, "--root", Write("other.pem", other.ExportCertificatePem()));

        Assert.Equal(1, status);
        Assert.StartsWith($"{server.Address} is not to be trusted by --root: ", error, StringComparison.Ordinal);
        Assert.Contains(Cart.ToString(), output, StringComparison.Ordinal);

        var (_, _, named) = await CertsAsync("connect", server.Address, "--root", Write("root.pem", _root.ExportCertificatePem()), "--server-name", "cart.shop");
        Assert.Contains("its certificate does not have the name cart.shop", named, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_speaks_no_TLS_and_one_that_says_nothing_are_failures()
    {
        await using var http = new AdminPort("/", "hello");
        Assert.Contains("presented no certificate", (await CertsAsync("connect", http.Address)).Error, StringComparison.Ordinal);

        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        Assert.Contains("did not finish the handshake in 1 s", (await CertsAsync(TimeProvider.System, "connect", $"{silent.LocalEndpoint}", "--timeout", "1")).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--expect", "web", "--expect: ")]
    [InlineData("--timeout", "0", "--timeout is 0; allowed are 1 to 3600 seconds")]
    [InlineData("--root", "/none/root.pem", "/none/root.pem cannot be read")]
    public async Task An_option_that_makes_no_sense_is_named(string option, string value, string reason)
    {
        var (status, _, error) = await CertsAsync("connect", "127.0.0.1:1", option, value);
        Assert.Equal(1, status);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_of_another_certificate_is_refused()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var (status, error) = await FailureAsync("connect", "127.0.0.1:1", "--cert", Write("root.pem", _root.ExportCertificatePem()), "--key", Write("key.pem", key.ExportPkcs8PrivateKeyPem()));
        Assert.Equal(1, status);
        Assert.Contains("holds no private key of the first certificate of", error, StringComparison.Ordinal);
    }

    private static Task<(int Status, string Output, string Error)> CertsAsync(params string[] arguments) =>
        CertsAsync(arguments[0] is "file" ? new FakeTimeProvider(Now) : TimeProvider.System, arguments);

    private static Task<(int Status, string Output, string Error)> CertsAsync(TimeProvider time, params string[] arguments) =>
        MeshTool.RunAsync(CertificatesCommand.Create(time), arguments).InTime();

    private static async Task<(int Status, string Error)> FailureAsync(params string[] arguments)
    {
        var (status, _, error) = await CertsAsync(arguments);
        return (status, error);
    }

    private string Write(string name, params string[] parts)
    {
        var path = Path.Combine(_directory.FullName, name);
        File.WriteAllText(path, string.Join('\n', parts));
        return path;
    }

    /// <summary>The accepting side of an HBONE connection, as far as its handshake.</summary>
    private sealed class MeshServer : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly TrustBundle _trust = new();
        private readonly WorkloadCertificate _certificate;
        private readonly Task _serving;

        public MeshServer(WorkloadCertificate certificate, X509Certificate2 root)
        {
            _certificate = certificate;
            _trust.Replace(TrustDomain.ClusterLocal, [root]);
            _listener.Start();
            _serving = ServeAsync();
        }

        public string Address => _listener.LocalEndpoint.ToString()!;

        public PeerVerification Peer { get; private set; } = new();

        public async ValueTask DisposeAsync()
        {
            _listener.Stop();
            await _serving.InTime().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        private async Task ServeAsync()
        {
            while (true)
            {
                using var client = await _listener.AcceptTcpClientAsync();
                await using var tls = new SslStream(client.GetStream());
                var peer = new PeerVerification();
                try
                {
                    await tls.AuthenticateAsServerAsync(SpiffeTls.ServerOptions(_certificate, _trust, peer, TimeProvider.System));
                    Peer = peer;
                    await tls.WriteAsync(new byte[] { 0 });
                    _ = await tls.ReadAtLeastAsync(new byte[1], 1, throwOnEndOfStream: false);
                }
                catch (Exception e) when (e is IOException or System.Security.Authentication.AuthenticationException)
                {
                    // It is what the test wanted to see from the other side.
                }
            }
        }
    }

    /// <summary>Answers one path over HTTP/1.1 with a body, and all others with 404.</summary>
    private sealed class AdminPort : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly Task _serving;

        public AdminPort(string path, string body)
        {
            _listener.Start();
            _serving = ServeAsync(path, body);
        }

        public string Address => _listener.LocalEndpoint.ToString()!;

        public async ValueTask DisposeAsync()
        {
            _listener.Stop();
            await _serving.InTime().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        private async Task ServeAsync(string path, string body)
        {
            while (true)
            {
                using var client = await _listener.AcceptTcpClientAsync();
                await using var stream = client.GetStream();
                var buffer = new byte[4096];
                var request = Encoding.Latin1.GetString(buffer, 0, await stream.ReadAsync(buffer));
                var (status, content) = request.StartsWith($"GET {path} ", StringComparison.Ordinal) ? ("200 OK", body) : ("404 Not Found", "");
                await stream.WriteAsync(Encoding.UTF8.GetBytes($"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {Encoding.UTF8.GetByteCount(content)}\r\n\r\n{content}"));
            }
        }
    }
}
