using System.Diagnostics;
using System.Net;

namespace Mesh.Load.Peers;

/// <summary>Two ztunnel processes: SOCKS5 into the first, HBONE to the second, plain TCP to the application.</summary>
internal sealed class ZtunnelPair : LoadPeer
{
    private const string Near = "127.91.0.1";
    private const string Far = "127.91.0.2";

    public override string Name => "mesh";

    public override IPEndPoint TlsEndPoint { get; } = new(IPAddress.Parse(Far), 15008);

    public override bool SpeaksFirst => true;

    /// <summary>Starts both.</summary>
    /// <param name="files">Root and certificates.</param>
    /// <param name="workloads">How many workloads, which are not used, they know besides.</param>
    public static async Task<LoadPeer> StartAsync(PeerFiles files, int workloads = 0)
    {
        var others = string.Concat(Enumerable.Range(0, workloads).Select(i =>
            $"- {{uid: w{i}, name: w{i}, namespace: ns-{i % 100}, serviceAccount: sa-{i / 10}, node: node-{i % 1000}, workloadIps: [10.{(i >> 16) & 255}.{(i >> 8) & 255}.{i & 255}], protocol: HBONE, services: {{}}}}\n"));
        var state = files.Write(
            "mesh.yaml",
            $$$"""
            workloads:
            - {name: near, namespace: load, serviceAccount: near, workloadIps: [{{{Near}}}], protocol: HBONE, services: {}}
            - {name: far, namespace: load, serviceAccount: far, workloadIps: [{{{Far}}}], protocol: HBONE, services: {}}
            {{{others}}}policies:
            - {name: only-near, namespace: load, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/load/sa/near]}]]]}
            """);
        var pair = new ZtunnelPair();
        pair.Start("near", Near, state, files);
        pair.Start("far", Far, state, files);
        using var client = new HttpClient();
        foreach (var address in new[] { Near, Far })
        {
            await WaitUntilAsync(() => IsReadyAsync(client, address), $"the ztunnel at {address}");
        }

        return pair;
    }

    public override async Task<Stream> ConnectAsync()
    {
        var stream = await Sockets.ConnectAsync(new IPEndPoint(IPAddress.Parse(Near), 15080));
        byte[] greetingAndRequest = [5, 1, 0, 5, 1, 0, 1, .. IPAddress.Parse(Far).GetAddressBytes(), (byte)(Application.Port >> 8), (byte)(Application.Port & 0xFF)];
        await stream.WriteAsync(greetingAndRequest);
        var reply = new byte[12];
        await stream.ReadExactlyAsync(reply);
        return reply[3] == 0 ? stream : throw new IOException($"SOCKS5 reply {reply[3]}");
    }

    private static async Task<bool> IsReadyAsync(HttpClient client, string address)
    {
        try
        {
            using var response = await client.GetAsync($"http://{address}:15021/healthz/ready");
            return response.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private void Start(string name, string address, string state, PeerFiles files)
    {
        // artifacts/bin/PROJECT/CONFIGURATION/
        var folder = AppContext.BaseDirectory.Replace("Mesh.Load", "Mesh.Ztunnel", StringComparison.Ordinal);
        var start = new ProcessStartInfo("dotnet", [Path.Combine(folder, "Mesh.Ztunnel.dll")]);
        start.Environment["PROXY_MODE"] = "dedicated";
        start.Environment["PROXY_WORKLOAD_INFO"] = $"load/{name}/{name}";
        start.Environment["LOCAL_XDS_PATH"] = state;
        start.Environment["MESH_DEVELOPMENT_CA"] = files.Authority;
        start.Environment["MESH_LISTEN_ADDRESS"] = address;
        start.Environment["UNSTABLE_ENABLE_SOCKS5"] = "true";
        start.Environment["RUST_LOG"] = "off";
        Start(start);
    }
}
