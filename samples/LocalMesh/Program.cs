using System.Collections.Concurrent;
using System.Net;
using System.Runtime.InteropServices;
using LocalMesh;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Hosting;

const string Row = "{0,-8} {1,-28} {2,-44} {3,-9} {4,-22} {5,6} {6,5}  {7}";
var path = Path.Combine(AppContext.BaseDirectory, "mesh.yaml");
var mesh = LocalConfiguration.Load(path);
var requests = ExpectedRequest.ReadAll(path);
var records = new ConcurrentQueue<ConnectionRecord>();
using var authority = DevelopmentCertificateAuthority.Create();

// Every node reads the file itself; or, with --control-plane, one control plane does, and tells the nodes.
await using var controlPlane = args.Contains("--control-plane") ? await SuppliedByControlPlane.StartAsync(path) : null;
var fromFile = new Supply(authority, options => options.LocalXdsPath = path);

// Two nodes, 127.0.1.1 and 127.0.2.1, and the applications of their workloads.
var nodes = mesh.Workloads.GroupBy(workload => workload.Node).ToList();
IHost[] hosts;
try
{
    hosts = await Task.WhenAll(nodes.Select((node, i) =>
        Node.StartAsync(node.Key, IPAddress.Parse($"127.0.{i + 1}.1"), node, controlPlane?.For(node.Key) ?? fromFile, (_, record) => records.Enqueue(record))));
}
catch (IOException e)
{
    Console.Error.WriteLine($"{e.Message} Does another local mesh run?");
    return 1;
}

var applications = await Task.WhenAll(mesh.Workloads.Where(workload => !workload.Services.IsEmpty).Select(Application.StartAsync));

// A request of an unmodified program through its workload's proxy leaves two records: at the client's side and at the server's.
Console.WriteLine(Row, "FROM", "TO", "IDENTITY ON THE WIRE", "RESULT", "BY POLICY", "BYTES", "MS", "AS EXPECTED");
var unexpected = 0;
foreach (var request in requests)
{
    var answered = await RequestAsync(request);
    var outbound = await RecordAsync(ConnectionDirection.Outbound);
    var inbound = await RecordAsync(ConnectionDirection.Inbound);
    var allowed = answered && inbound.Decision is L4Decision.Allowed;
    var expected = allowed == request.Allowed && answered == request.Allowed && inbound.Decision?.Policy == request.Policy;
    unexpected += expected ? 0 : 1;
    Console.WriteLine(
        Row,
        request.From,
        request.To,
        inbound.SourceIdentity,
        allowed ? "allowed" : "denied",
        inbound.Decision?.Policy ?? (allowed ? "(none applies)" : "(none allows)"),
        outbound.BytesSent + outbound.BytesReceived,
        (int)outbound.Duration.TotalMilliseconds,
        expected ? "yes" : $"NO: {inbound.Error}");
}

if (!args.Contains("--once"))
{
    Console.WriteLine();
    Console.WriteLine("The mesh goes on until Ctrl-C. Try it as one of its workloads:");
    foreach (var workload in mesh.Workloads)
    {
        Console.WriteLine($"  curl --socks5-hostname {workload.Addresses[0]}:15080 http://cart.shop.svc.cluster.local/    # as {workload.Name}");
    }

    Console.WriteLine($"Change a policy and try again: {path}");
    var stop = new TaskCompletionSource();
    Console.CancelKeyPress += (_, key) =>
    {
        key.Cancel = true;
        stop.TrySetResult();
    };
    using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal =>
    {
        signal.Cancel = true;
        stop.TrySetResult();
    });
    await stop.Task;
}

foreach (var host in hosts)
{
    await host.StopAsync();
    host.Dispose();
}

foreach (var application in applications)
{
    await application.DisposeAsync();
}

return unexpected == 0 ? 0 : 1;

// True when the application answered. A connection that policy denies is accepted and then closed, as TCP knows no other refusal.
async Task<bool> RequestAsync(ExpectedRequest request)
{
    var source = mesh.Workloads.Single(workload => workload.Name == request.From);
    using var client = new HttpClient(new SocketsHttpHandler { Proxy = new WebProxy($"socks5://{source.Addresses[0]}:15080") }) { Timeout = TimeSpan.FromSeconds(10) };
    try
    {
        using var response = await client.GetAsync($"http://{request.To}/");
        return response.IsSuccessStatusCode;
    }
    catch (HttpRequestException)
    {
        return false;
    }
}

// The record is written when both directions have ended, a moment after the answer.
async Task<ConnectionRecord> RecordAsync(ConnectionDirection direction)
{
    var deadline = DateTime.UtcNow.AddSeconds(10);
    while (DateTime.UtcNow < deadline)
    {
        if (records.FirstOrDefault(record => record.Direction == direction) is { } found)
        {
            var others = records.Where(record => record != found).ToList();
            records.Clear();
            others.ForEach(records.Enqueue);
            return found;
        }

        await Task.Delay(10);
    }

    throw new TimeoutException($"no {direction} record of the request");
}
