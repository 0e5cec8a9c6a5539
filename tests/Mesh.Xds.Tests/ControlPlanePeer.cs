using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using Mesh.Testing;
using Mesh.Xds.Client;

namespace Mesh.Xds;

/// <summary>A control plane on gRPC's C core, in Python, that does what the test tells it to; with a serving certificate, its root, and an authority for workloads.</summary>
internal sealed class ControlPlanePeer : IAsyncDisposable
{
    public const string Python = "/usr/bin/python3";
    public const string PythonPackages = "python3-grpcio python3-protobuf protobuf-compiler";
    public const string PythonGrpc = "/usr/lib/python3/dist-packages/grpc";
    public const string Protoc = "/usr/bin/protoc";

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-control-plane-");
    private Peer? _peer;
    private int _requests;
    private int _commands;

    public string RootPath => Path.Combine(_directory.FullName, "root.pem");

    public string RootPem => File.ReadAllText(RootPath);

    public string TokenPath => Path.Combine(_directory.FullName, "token");

    public int Port { get; private set; }

    public string Output => _peer?.Output ?? "";

    public ControlPlaneEndpoint Endpoint => new() { Address = new Uri($"https://localhost:{Port}"), RootCertificates = RootPath, Token = TokenPath, Metadata = [new("clusterid", "Kubernetes")] };

    public static async Task<ControlPlanePeer> StartAsync(string servingName = "localhost")
    {
        var peer = new ControlPlanePeer();
        peer.WriteCertificates(servingName);
        await File.WriteAllTextAsync(peer.TokenPath, "token-1\n");
        await peer.RunAsync();
        return peer;
    }

    /// <summary>Ends the process; its port stays ours to use again.</summary>
    public async Task StopAsync()
    {
        await _peer!.DisposeAsync();
        _requests = 0;
    }

    public async Task RunAsync()
    {
        var options = JsonSerializer.Serialize(new
        {
            protos = Path.Combine(AppContext.BaseDirectory, "Protos"),
            key = Path.Combine(_directory.FullName, "key.pem"),
            cert = Path.Combine(_directory.FullName, "cert.pem"),
            ca = Path.Combine(_directory.FullName, "root.pem"),
            cakey = Path.Combine(_directory.FullName, "root-key.pem"),
            port = Port,
        });
        _peer = Peer.Start(Python, Path.Combine(AppContext.BaseDirectory, "Peers", "control_plane.py"), options);
        Port = int.Parse(await _peer.SaysAsync("listening "));
    }

    /// <summary>Tells it what to do, and waits until it is done or queued.</summary>
    public async Task TellAsync(JsonObject command)
    {
        var id = ++_commands;
        command["id"] = id;
        await _peer!.TellAsync(command.ToJsonString());
        await _peer.SaysAsync($"done {id}");
    }

    public Task PushAsync(string typeUrl, string nonce, JsonArray? resources = null, params string[] removed) =>
        TellAsync(new JsonObject { ["op"] = "push", ["type_url"] = typeUrl, ["nonce"] = nonce, ["resources"] = resources ?? [], ["removed"] = new JsonArray([.. removed.Select(name => JsonValue.Create(name))]) });

    public Task EndStreamAsync(string code, string details = "") => TellAsync(new JsonObject { ["op"] = "end", ["code"] = code, ["details"] = details });

    /// <summary>Says how the certificate authority answers from now on; what waits at a gate is let go.</summary>
    public Task AuthorityAsync(string mode, JsonObject? more = null)
    {
        var command = more ?? [];
        (command["op"], command["mode"]) = ("ca", mode);
        return TellAsync(command);
    }

    /// <summary>The next request that it got, in the order of arrival.</summary>
    public async Task<JsonObject> NextRequestAsync() => JsonNode.Parse(await _peer!.SaysAsync($"request {++_requests} "))!.AsObject();

    public Task<string> SaysAsync(string beginning) => _peer!.SaysAsync(beginning);

    /// <summary>A client with the short waits of a test.</summary>
    public XdsClient Client(XdsNode? node = null, Func<ControlPlaneEndpoint, ControlPlaneEndpoint>? change = null, TimeSpan? demandTimeout = null) => new(new XdsClientOptions
    {
        Endpoint = change?.Invoke(Endpoint) ?? Endpoint,
        Node = node ?? new XdsNode("ztunnel~10.0.0.1~ztunnel-1.istio-system~istio-system.svc.cluster.local"),
        MaxBackoff = TimeSpan.FromMilliseconds(200),
        DemandTimeout = demandTimeout ?? Eventually.Bound,
    });

    public async ValueTask DisposeAsync()
    {
        if (_peer is not null)
        {
            await _peer.DisposeAsync();
        }

        _directory.Delete(recursive: true);
    }

    private void WriteCertificates(string servingName)
    {
        using var root = TestCertificates.Root("CN=Control plane root");
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=control plane", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(servingName);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(root, true, false));
        using var certificate = request.Create(root, DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddDays(1), RandomNumberGenerator.GetBytes(16));
        using var rootKey = root.GetECDsaPrivateKey()!;
        Write("root.pem", root.ExportCertificatePem() + "\n");
        Write("root-key.pem", rootKey.ExportPkcs8PrivateKeyPem());
        Write("cert.pem", certificate.ExportCertificatePem());
        Write("key.pem", key.ExportPkcs8PrivateKeyPem());
    }

    /// <summary>Writes a file that lives as long as the peer, and returns its path.</summary>
    public string Write(string name, string text)
    {
        var path = Path.Combine(_directory.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }
}
