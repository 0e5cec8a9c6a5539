using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using Mesh.Core.Identity;
using Mesh.Testing;

namespace Mesh.Xds;

/// <summary>A SPIFFE agent on gRPC's C core, in Python, that brings what the test tells it to.</summary>
internal sealed class SpiffeAgentPeer : IAsyncDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-spiffe-");
    private Peer? _peer;
    private int _commands;

    public string Endpoint { get; private set; } = "";

    public static async Task<SpiffeAgentPeer> StartAsync(bool overTcp = false)
    {
        var peer = new SpiffeAgentPeer();
        await peer.RunAsync(overTcp);
        return peer;
    }

    /// <summary>Starts the process; a second time, at the same socket.</summary>
    public async Task RunAsync(bool overTcp = false)
    {
        var path = Path.Combine(_directory.FullName, "agent.sock");
        _peer = Peer.Start(
            ControlPlanePeer.Python,
            Path.Combine(AppContext.BaseDirectory, "Peers", "spiffe_agent.py"),
            JsonSerializer.Serialize(new { protos = Path.Combine(AppContext.BaseDirectory, "Protos"), address = overTcp ? "127.0.0.1:0" : $"unix:{path}" }));
        var port = await _peer.SaysAsync("listening ");
        Endpoint = overTcp ? $"tcp://127.0.0.1:{port}" : $"unix://{path}";
    }

    /// <summary>Ends the process.</summary>
    public async Task StopAsync()
    {
        await _peer!.DisposeAsync();
        _peer = null;
    }

    public Task BringAsync(params JsonNode[] svids) => BringAsync(svids, federated: null);

    public Task BringAsync(JsonNode[] svids, JsonObject? federated, params byte[][] crl) => TellAsync(new JsonObject
    {
        ["op"] = "bring",
        ["svids"] = new JsonArray(svids),
        ["federated"] = federated ?? [],
        ["crl"] = new JsonArray([.. crl.Select(list => JsonValue.Create(Convert.ToBase64String(list)))]),
    });

    public Task BringBundlesAsync(Dictionary<string, X509Certificate2[]> bundles) => TellAsync(new JsonObject
    {
        ["op"] = "bring_bundles",
        ["bundles"] = new JsonObject(bundles.Select(one => KeyValuePair.Create<string, JsonNode?>(one.Key, Bundle(one.Value)))),
    });

    public Task EndStreamsAsync(string code) => TellAsync(new JsonObject { ["op"] = "end", ["code"] = code, ["details"] = "because" });

    public Task RefuseAsync(string? code, string details = "") =>
        TellAsync(code is null ? new JsonObject { ["op"] = "refuse" } : new JsonObject { ["op"] = "refuse", ["code"] = code, ["details"] = details });

    public Task<string> SaysAsync(string beginning) => _peer!.SaysAsync(beginning);

    /// <summary>A certificate as an agent brings it.</summary>
    public static JsonObject Svid(SpiffeId identity, X509Certificate2 leaf, IEnumerable<X509Certificate2> chain, params X509Certificate2[] bundle)
    {
        using AsymmetricAlgorithm key = (AsymmetricAlgorithm?)leaf.GetECDsaPrivateKey() ?? leaf.GetRSAPrivateKey()!;
        return new JsonObject
        {
            ["id"] = identity.ToString(),
            ["svid"] = Bundle([leaf, .. chain]),
            ["key"] = Convert.ToBase64String(key.ExportPkcs8PrivateKey()),
            ["bundle"] = Bundle(bundle),
        };
    }

    public static string Bundle(params X509Certificate2[] certificates) => Convert.ToBase64String([.. certificates.SelectMany(certificate => certificate.RawData)]);

    public async ValueTask DisposeAsync()
    {
        if (_peer is not null)
        {
            await _peer.DisposeAsync();
        }

        _directory.Delete(recursive: true);
    }

    private async Task TellAsync(JsonObject command)
    {
        var id = ++_commands;
        command["id"] = id;
        await _peer!.TellAsync(command.ToJsonString());
        await _peer.SaysAsync($"done {id}");
    }
}
