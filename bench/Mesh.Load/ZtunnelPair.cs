using System.Diagnostics;
using System.Net;
using System.Text;

namespace Mesh.Load;

/// <summary>Two ztunnel processes: SOCKS5 into the first, HBONE to the second, plain TCP to the application.</summary>
internal sealed class ZtunnelPair : IAsyncDisposable
{
    private const string Near = "127.91.0.1";
    private const string Far = "127.91.0.2";
    private const int ApplicationPort = 8080;
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(20);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-load-");
    private readonly Process[] _processes;

    private ZtunnelPair()
    {
        File.WriteAllText(
            Path.Combine(_directory.FullName, "mesh.yaml"),
            $$$"""
            workloads:
            - {name: near, namespace: load, serviceAccount: near, workloadIps: [{{{Near}}}], protocol: HBONE, services: {}}
            - {name: far, namespace: load, serviceAccount: far, workloadIps: [{{{Far}}}], protocol: HBONE, services: {}}
            policies:
            - {name: only-near, namespace: load, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/load/sa/near]}]]]}
            """);
        _processes = [Start("near", Near), Start("far", Far)];
    }

    public static async Task<ZtunnelPair> StartAsync()
    {
        var pair = new ZtunnelPair();
        using var client = new HttpClient();
        foreach (var address in new[] { Near, Far })
        {
            var clock = Stopwatch.StartNew();
            while (!await IsReadyAsync(client, address))
            {
                if (clock.Elapsed > StartTimeout)
                {
                    throw new TimeoutException($"the ztunnel at {address} is not ready within {StartTimeout}");
                }

                await Task.Delay(50);
            }
        }

        return pair;
    }

    public async Task<Stream> ConnectAsync()
    {
        var stream = await Sockets.ConnectAsync(new IPEndPoint(IPAddress.Parse(Near), 15080));
        var reply = new byte[10];
        await stream.WriteAsync(new byte[] { 5, 1, 0 });
        await stream.ReadExactlyAsync(reply.AsMemory(0, 2));
        byte[] request = [5, 1, 0, 3, (byte)Far.Length, .. Encoding.ASCII.GetBytes(Far), ApplicationPort >> 8, ApplicationPort & 0xFF];
        await stream.WriteAsync(request);
        await stream.ReadExactlyAsync(reply);
        return reply[1] == 0 ? stream : throw new IOException($"SOCKS5 reply {reply[1]}");
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var process in _processes)
        {
            process.Kill();
            await process.WaitForExitAsync();
            process.Dispose();
        }

        _directory.Delete(recursive: true);
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

    private Process Start(string name, string address)
    {
        // artifacts/bin/PROJECT/CONFIGURATION/
        var folder = AppContext.BaseDirectory.Replace("Mesh.Load", "Mesh.Ztunnel", StringComparison.Ordinal);
        var start = new ProcessStartInfo("dotnet", [Path.Combine(folder, "Mesh.Ztunnel.dll")]) { RedirectStandardOutput = true, UseShellExecute = false };
        start.Environment["PROXY_MODE"] = "dedicated";
        start.Environment["PROXY_WORKLOAD_INFO"] = $"load/{name}/{name}";
        start.Environment["LOCAL_XDS_PATH"] = Path.Combine(_directory.FullName, "mesh.yaml");
        start.Environment["MESH_DEVELOPMENT_CA"] = Path.Combine(_directory.FullName, "ca");
        start.Environment["MESH_LISTEN_ADDRESS"] = address;
        start.Environment["UNSTABLE_ENABLE_SOCKS5"] = "true";
        start.Environment["RUST_LOG"] = "error";
        var process = Process.Start(start)!;
        process.OutputDataReceived += (_, line) => Console.Error.WriteLine(line.Data);
        process.BeginOutputReadLine();
        return process;
    }
}
