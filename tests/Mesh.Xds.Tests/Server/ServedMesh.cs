using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using Mesh.AspNetCore.ControlPlanes;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Xds.Client;

namespace Mesh.Xds.Server;

/// <summary>A control plane of ours on a port of the loopback address, with a mesh of two nodes, and clients in Python for it.</summary>
internal sealed class ServedMesh : IAsyncDisposable
{
    public const string FirstToken = "token-of-node-1-long-enough";
    public const string SecondToken = "token-of-node-2-long-enough";

    public const string Mesh = """
        workloads:
        - {uid: web, name: web-0, namespace: shop, serviceAccount: web, node: node-1, workloadIps: [10.0.0.1], protocol: HBONE, services: {}}
        - {uid: cart, name: cart-0, namespace: shop, serviceAccount: cart, node: node-2, workloadIps: [10.0.0.2], protocol: HBONE, services: {shop/cart.shop.svc.cluster.local: {80: 8080}}}
        services:
        - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: [/10.96.0.2], ports: {80: 8080}}
        policies:
        - name: only-web
          namespace: shop
          scope: Namespace
          action: Allow
          rules:
          - - - principals: [!Exact cluster.local/ns/shop/sa/web]
        """;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-served-");
    private readonly ControlPlane _controlPlane;
    private ControlPlaneServer? _server;

    private ServedMesh(ControlPlaneOptions? options)
    {
        Authority = DevelopmentCertificateAuthority.Open(Path.Combine(_directory.FullName, "ca"));
        Authority.Trust(TrustDomain.ClusterLocal);
        LocalConfiguration.Parse(Mesh).ApplyTo(State);
        File.WriteAllText(ClientsPath, $$"""
            clients:
            - {node: node-1, token: {{FirstToken}}}
            - {node: node-2, tokenSha256: {{Convert.ToHexString(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(SecondToken)))}}}
            - {node: node-2, spiffeId: spiffe://cluster.local/node/node-2}
            - {identity: spiffe://cluster.local/ns/shop/sa/pay, token: token-of-an-application}
            """);
        _controlPlane = new ControlPlane(State, new ClientsFile(ClientsPath), Authority, options);
    }

    public MeshState State { get; } = new();

    public DevelopmentCertificateAuthority Authority { get; }

    public string ClientsPath => Path.Combine(_directory.FullName, "clients.yaml");

    public string RootPath => Path.Combine(_directory.FullName, "ca", DevelopmentCertificateAuthority.RootCertificateFile);

    public string Address => $"localhost:{_server!.LocalEndPoint.Port}";

    public int Streams => _controlPlane.Streams;

    public static async Task<ServedMesh> StartAsync(ControlPlaneOptions? options = null)
    {
        var served = new ServedMesh(options);
        served._server = await ControlPlaneServer.StartAsync(served._controlPlane, served.Authority, new ControlPlaneServerOptions { ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0) });
        return served;
    }

    /// <summary>A client in Python, by a token or a certificate.</summary>
    public PythonClient Python(string? token, string? identity = null, X509Certificate2? root = null)
    {
        var (key, cert) = identity is null ? default : WriteCertificate(identity, root);
        return new PythonClient(JsonSerializer.Serialize(new { protos = Path.Combine(AppContext.BaseDirectory, "Protos"), root = RootPath, address = Address, token, key, cert }));
    }

    public XdsClient Client(string token = FirstToken) => new(new XdsClientOptions
    {
        Endpoint = new ControlPlaneEndpoint { Address = new Uri($"https://{Address}"), RootCertificates = RootPath, Token = token },
        Node = new XdsNode("n"),
        MaxBackoff = TimeSpan.FromMilliseconds(200),
        DemandTimeout = Eventually.Bound,
    });

    public async ValueTask DisposeAsync()
    {
        await (_server?.DisposeAsync() ?? default);
        _controlPlane.Dispose();
        Authority.Dispose();
        _directory.Delete(recursive: true);
    }

    private (string Key, string Certificate) WriteCertificate(string identity, X509Certificate2? otherRoot)
    {
        using var own = otherRoot is null ? TestCertificates.RootOf(Path.Combine(_directory.FullName, "ca")) : null;
        using var certificate = TestCertificates.Leaf(otherRoot ?? own!, new TestLeaf { Uris = [identity] });
        using var key = certificate.GetECDsaPrivateKey()!;
        var paths = (Path.Combine(_directory.FullName, "client-key.pem"), Path.Combine(_directory.FullName, "client-cert.pem"));
        File.WriteAllText(paths.Item1, key.ExportPkcs8PrivateKeyPem());
        File.WriteAllText(paths.Item2, certificate.ExportCertificatePem());
        return paths;
    }
}

/// <summary>A client on gRPC's C core; it sends what it is told to, and what it hears is read in order.</summary>
internal sealed class PythonClient(string options) : IAsyncDisposable
{
    private readonly Peer _peer = Peer.Start(ControlPlanePeer.Python, Path.Combine(AppContext.BaseDirectory, "Peers", "xds_client.py"), options);
    private int _heard;

    public Task TellAsync(JsonObject request) => _peer.TellAsync(request.ToJsonString());

    public async Task<JsonObject> HearAsync() => JsonNode.Parse(await _peer.SaysAsync($"said {++_heard} "))!.AsObject();

    /// <summary>Hears a response, and acknowledges it.</summary>
    public async Task<JsonObject> TakeAsync()
    {
        var response = await HearAsync();
        Assert.True(response.ContainsKey("nonce"), response.ToJsonString());
        await TellAsync(new JsonObject { ["type_url"] = (string?)response["type_url"], ["response_nonce"] = (string?)response["nonce"] });
        return response;
    }

    public ValueTask DisposeAsync() => _peer.DisposeAsync();
}
