using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using Mesh.Core.Identity;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>Two ztunnel processes on addresses of their own, web with SOCKS5 and cart with an application that echoes; a policy file that the test can edit.</summary>
internal sealed class TwoNodes : IAsyncDisposable
{
    public const int ApplicationPort = 8080;
    private const string AllowWeb = """
        policies:
        - name: only-web
          namespace: shop
          scope: Namespace
          action: Allow
          rules:
          - - - principals: [!Exact cluster.local/ns/shop/sa/web]
        """;

    // Processes of the same machine that run at the same time get different addresses.
    private static int _lastNetwork = Environment.ProcessId % 100 * 2;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-e2e-");
    private readonly int _network = Interlocked.Increment(ref _lastNetwork) % 250;
    private readonly EchoServer _application;

    private readonly (string Name, string Value)[] _settings;
    private readonly string _webTrustDomain;

    private TwoNodes(string webTrustDomain, (string Name, string Value)[] settings)
    {
        _webTrustDomain = webTrustDomain;
        _settings = settings;
        WebAddress = IPAddress.Parse($"127.77.{_network}.1");
        CartAddress = IPAddress.Parse($"127.77.{_network}.2");
        _application = new EchoServer(new IPEndPoint(CartAddress, ApplicationPort));
        WritePolicies(AllowWeb);
        Web = Start("web", WebAddress);
        Cart = Start("cart", CartAddress);
    }

    public IPAddress WebAddress { get; }

    public IPAddress CartAddress { get; }

    public Peer Web { get; }

    public Peer Cart { get; }

    public string CertificateDirectory => Path.Combine(_directory.FullName, "ca");

    public string File => Path.Combine(_directory.FullName, "mesh.yaml");

    /// <summary>Starts both, with further settings.</summary>
    public static Task<TwoNodes> StartAsync(params (string Name, string Value)[] settings) => StartAsync("cluster.local", settings);

    /// <summary>Starts both, web in a trust domain that need not be that of cart, with further settings.</summary>
    public static async Task<TwoNodes> StartAsync(string webTrustDomain, params (string Name, string Value)[] settings)
    {
        var nodes = new TwoNodes(webTrustDomain, settings);
        var ready = settings.Contains(("LOG_FORMAT", "json")) ? "\"message\":\"ready\"" : "\tready";
        try
        {
            await nodes.Web.LogsAsync(ready);
            await nodes.Cart.LogsAsync(ready);
            return nodes;
        }
        catch
        {
            // Else they would hold their addresses against later tests.
            await nodes.DisposeAsync();
            throw;
        }
    }

    /// <summary>Writes the file again, with other policies.</summary>
    public void WritePolicies(string policies) => System.IO.File.WriteAllText(
        File,
        $$$"""
        workloads:
        - {uid: web, name: web-0, namespace: shop, serviceAccount: web, trustDomain: {{{_webTrustDomain}}}, workloadIps: [{{{WebAddress}}}], protocol: HBONE, services: {}}
        - uid: cart
          name: cart-0
          namespace: shop
          serviceAccount: cart
          workloadIps: [{{{CartAddress}}}]
          protocol: HBONE
          services: {shop/cart.shop.svc.cluster.local: {80: {{{ApplicationPort}}}}}
        services:
        - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: [/10.96.0.2], ports: {80: {{{ApplicationPort}}}}}
        {{{policies}}}
        """);

    /// <summary>A connection of an application beside web, through its proxy, to a target.</summary>
    public async Task<TransportConnection> ConnectAsync(string host = "cart.shop.svc.cluster.local", int port = 80)
    {
        var connection = await new SocketTransportFactory().ConnectAsync(new IPEndPoint(WebAddress, 15080), null, CancellationToken.None);
        await Socks5Client.ConnectAsync(connection.Stream, host, port).InTime();
        return connection;
    }

    /// <summary>A client of the same root, for peers that are not ours.</summary>
    public (string Key, string Certificate) WriteCertificate(TestLeaf leaf)
    {
        using var root = TestCertificates.RootOf(CertificateDirectory);
        using var certificate = TestCertificates.Leaf(root, leaf);
        using var key = certificate.GetECDsaPrivateKey()!;
        var paths = (Path.Combine(_directory.FullName, "peer-key.pem"), Path.Combine(_directory.FullName, "peer-cert.pem"));
        System.IO.File.WriteAllText(paths.Item1, key.ExportPkcs8PrivateKeyPem());
        System.IO.File.WriteAllText(paths.Item2, certificate.ExportCertificatePem());
        return paths;
    }

    public string RootCertificate => Path.Combine(CertificateDirectory, DevelopmentCertificateAuthority.RootCertificateFile);

    public async ValueTask DisposeAsync()
    {
        await Web.DisposeAsync();
        await Cart.DisposeAsync();
        await _application.DisposeAsync();
        _directory.Delete(recursive: true);
    }

    private Peer Start(string name, IPAddress address) => Peer.Start(
        new Dictionary<string, string>(_settings.Select(setting => KeyValuePair.Create(setting.Name, setting.Value)))
        {
            ["PROXY_MODE"] = "dedicated",
            ["PROXY_WORKLOAD_INFO"] = $"shop/{name}-0/{name}",
            ["LOCAL_XDS_PATH"] = File,
            ["MESH_DEVELOPMENT_CA"] = CertificateDirectory,
            ["MESH_LISTEN_ADDRESS"] = address.ToString(),
            ["UNSTABLE_ENABLE_SOCKS5"] = name == "web" ? "true" : "false",
            ["CONNECTION_TERMINATION_DEADLINE"] = "4s",
        },
        "dotnet",
        Executable.PathOf("Mesh.Ztunnel"));
}

/// <summary>The client's side of SOCKS5, with a host name.</summary>
internal static class Socks5Client
{
    public static async Task ConnectAsync(Stream stream, string host, int port)
    {
        await stream.WriteAsync(new byte[] { 5, 1, 0 });
        var reply = new byte[10];
        await stream.ReadExactlyAsync(reply.AsMemory(0, 2));
        Assert.Equal([5, 0], reply[..2]);
        byte[] request = [5, 1, 0, 3, (byte)host.Length, .. System.Text.Encoding.ASCII.GetBytes(host), (byte)(port >> 8), (byte)port];
        await stream.WriteAsync(request);
        await stream.ReadExactlyAsync(reply);
        Assert.Equal(0, reply[1]);
    }
}

/// <summary>An application that sends back what it gets, and ends when its client does.</summary>
internal sealed class EchoServer : IAsyncDisposable
{
    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly Task _accepting;

    public EchoServer(IPEndPoint address)
    {
        _socket.Bind(address);
        _socket.Listen();
        _accepting = AcceptAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _socket.Dispose();
        await _accepting.InTime();
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            try
            {
                var client = await _socket.AcceptAsync();
                _ = Task.Run(() => EchoAsync(client));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private static async Task EchoAsync(Socket client)
    {
        await using var stream = new NetworkStream(client, ownsSocket: true);
        try
        {
            await stream.CopyToAsync(stream);
            client.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            // The client has gone.
        }
    }
}
