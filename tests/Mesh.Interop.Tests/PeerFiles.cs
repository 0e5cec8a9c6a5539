using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Interop;

/// <summary>What both sides of a test need: one authority in a directory, certificates as PEM files for the peer, a listener or a client of ours.</summary>
internal sealed class PeerFiles : IAsyncDisposable
{
    public const string Python = "/usr/bin/python3";
    public const string PythonPackage = "python3-h2";
    public const string PythonLibrary = "/usr/lib/python3/dist-packages/h2";

    public const string Go = "go";
    public const string GoPackages = "golang-go golang-golang-x-net-dev";
    public const string GoLibrary = "/usr/share/gocode/src/golang.org/x/net/http2";

    public const string Nghttpx = "nghttpx";
    public const string NghttpxPackage = "nghttp2-proxy";
    public const string Nghttp = "nghttp";
    public const string NghttpPackage = "nghttp2-client";

    public const string Apache = "apache2";
    public const string ApachePackage = "apache2-bin";
    public const string ApacheModule = "/usr/lib/apache2/modules/mod_http2.so";

    public static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    public static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-interop-");
    private readonly DevelopmentCertificateAuthority _authority;

    public PeerFiles()
    {
        _authority = DevelopmentCertificateAuthority.Open(_directory.FullName);
        Certificates = new WorkloadCertificates(_authority);
    }

    public WorkloadCertificates Certificates { get; }

    public string RootPath => Path.Combine(_directory.FullName, DevelopmentCertificateAuthority.RootCertificateFile);

    /// <summary>Writes a certificate of the authority as PEM.</summary>
    public (string Key, string Certificate) Write(TestLeaf leaf)
    {
        using var root = TestCertificates.RootOf(_directory.FullName);
        using var certificate = TestCertificates.Leaf(root, leaf);
        using var key = certificate.GetECDsaPrivateKey()!;
        var paths = (Path.Combine(_directory.FullName, "peer-key.pem"), Path.Combine(_directory.FullName, "peer-cert.pem"));
        File.WriteAllText(paths.Item1, key.ExportPkcs8PrivateKeyPem());
        File.WriteAllText(paths.Item2, certificate.ExportCertificatePem());
        return paths;
    }

    public HboneListener Listen(Action<HboneConnectionFailure>? failed = null) => HboneListener.Start(
        new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0)),
        new HboneListenerOptions
        {
            Certificate = token => Certificates.GetAsync(Cart, cancellationToken: token),
            Trust = _authority.TrustBundle,
            ConnectionFailed = failed,
        });

    public HbonePool Pool() => new(new HboneClient(Certificates));

    /// <summary>A Node client; it has no certificate when the leaf is null.</summary>
    public Peer NodeClient(HboneListener listener, string mode, TestLeaf? leaf, long size = 0)
    {
        var (key, cert) = leaf is null ? default : Write(leaf);
        return Node("connect-client.js", new { port = listener.LocalEndPoint.Port, key, cert, ca = RootPath, mode, size });
    }

    /// <summary>A Node server that proves to be the cart, and where it listens.</summary>
    public async Task<(Peer Peer, HboneDestination Destination)> NodeServerAsync() => await ServerAsync((key, cert) =>
        Node("connect-server.js", new { key, cert, ca = RootPath }));

    public async Task<(Peer Peer, HboneDestination Destination)> PythonServerAsync() => await ServerAsync((key, cert) =>
        PythonPeer(new { role = "server", key, cert, ca = RootPath }));

    public Peer PythonClient(HboneListener listener, string role, int size = 0)
    {
        var (key, cert) = Write(new TestLeaf());
        return PythonPeer(new { role, port = listener.LocalEndPoint.Port, key, cert, ca = RootPath, size });
    }

    /// <summary>A Go server that proves to be the cart, and where it listens.</summary>
    public async Task<(Peer Peer, HboneDestination Destination)> GoServerAsync()
    {
        var program = await GoProgram.BuiltAsync();
        return await ServerAsync((key, cert) => Peer.Start(program, JsonSerializer.Serialize(new { role = "server", key, cert, ca = RootPath })));
    }

    /// <summary>A Go client; it has no certificate when the leaf is null.</summary>
    public async Task<Peer> GoClientAsync(HboneListener listener, string role, TestLeaf? leaf, long size = 0, int tunnels = 0)
    {
        var (key, cert) = leaf is null ? default : Write(leaf);
        return Peer.Start(await GoProgram.BuiltAsync(), JsonSerializer.Serialize(new { role, port = listener.LocalEndPoint.Port, key, cert, ca = RootPath, size, tunnels }));
    }

    /// <summary>nghttp2's proxy, which proves to be the cart and forwards CONNECT to an HTTP/1.1 proxy, and where it listens.</summary>
    public async Task<(Peer Peer, HboneDestination Destination)> NghttpxAsync(TcpTarget behind)
    {
        var (key, cert) = Write(new TestLeaf { Uris = [Cart.ToString()] });
        var port = LocalPort.Free();
        var peer = Peer.Start(
            Nghttpx, "--conf=/dev/null", "--http2-proxy", "--no-ocsp", "--log-level=NOTICE", "--tls-min-proto-version=TLSv1.3", "--backend-connections-per-host=200", $"--frontend=127.0.0.1,{port}",
            $"--backend=127.0.0.1,{behind.Port}", "--verify-client", $"--verify-client-cacert={RootPath}", key, cert);
        await peer.LogsAsync("Listening on 127.0.0.1");
        return (peer, new HboneDestination(Web, [Cart], new IPEndPoint(IPAddress.Loopback, port)));
    }

    /// <summary>Apache httpd, which proves to be the cart and connects to these ports, and where it listens.</summary>
    public async Task<(Peer Peer, HboneDestination Destination)> ApacheAsync(params IEnumerable<int> targets)
    {
        var (key, cert) = Write(new TestLeaf { Uris = [Cart.ToString()] });
        var port = LocalPort.Free();
        var environment = new Dictionary<string, string>
        {
            ["MESH_DIRECTORY"] = _directory.FullName,
            ["MESH_PORT"] = $"{port}",
            ["MESH_KEY"] = key,
            ["MESH_CERT"] = cert,
            ["MESH_CA"] = RootPath,
            ["MESH_TARGETS"] = string.Join(' ', targets),
        };
        var peer = Peer.Start(environment, Apache, "-D", "FOREGROUND", "-f", Script("httpd.conf"));
        await peer.LogsAsync("resuming normal operations");
        return (peer, new HboneDestination(Web, [Cart], new IPEndPoint(IPAddress.Loopback, port)));
    }

    /// <summary>nghttp2's client, which can send anything but a CONNECT.</summary>
    public Peer NghttpClient(HboneListener listener, params IEnumerable<string> arguments)
    {
        var (key, cert) = Write(new TestLeaf());
        return Peer.Start(Nghttp, ["--verbose", "--no-verify-peer", $"--key={key}", $"--cert={cert}", .. arguments, $"https://127.0.0.1:{listener.LocalEndPoint.Port}/"]);
    }

    public async ValueTask DisposeAsync()
    {
        await Certificates.DisposeAsync();
        _authority.Dispose();
        _directory.Delete(recursive: true);
    }

    private async Task<(Peer Peer, HboneDestination Destination)> ServerAsync(Func<string, string, Peer> start)
    {
        var (key, cert) = Write(new TestLeaf { Uris = [Cart.ToString()] });
        var peer = start(key, cert);
        var port = int.Parse(await peer.SaysAsync("listening "));
        return (peer, new HboneDestination(Web, [Cart], new IPEndPoint(IPAddress.Loopback, port)));
    }

    private static Peer Node(string script, object options) => Peer.Start("node", Script(script), JsonSerializer.Serialize(options));

    private static Peer PythonPeer(object options) => Peer.Start(Python, Script("h2_peer.py"), JsonSerializer.Serialize(options));

    internal static string Script(string name) => Path.Combine(AppContext.BaseDirectory, "Peers", name);
}
