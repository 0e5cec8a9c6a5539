using System.Net;
using Mesh.Load;

// The same as the programs that it measures: completions on the polling thread. Set before the first socket is made.
Environment.SetEnvironmentVariable("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1");

var quick = args.Contains("--quick");
var duration = TimeSpan.FromSeconds(quick ? 1 : 4);
var repetitions = quick ? 3 : 5;

await using var application = new Application(new IPEndPoint(IPAddress.Parse("127.91.0.2"), 8080));
await using var mesh = await ZtunnelPair.StartAsync();
(string Peer, Func<Task<Stream>> Connect)[] ways = [("direct", application.ConnectAsync), ("mesh", mesh.ConnectAsync)];
(string Name, string Unit, Func<Func<Task<Stream>>, Task<double>> Run)[] workloads =
[
    ("bulk-x1", "Gbit/s", connect => Measure.BulkAsync(connect, 1, duration)),
    ("bulk-x8", "Gbit/s", connect => Measure.BulkAsync(connect, 8, duration)),
    ("ping-x1", "exchanges/s", connect => Measure.PingAsync(connect, 1, duration)),
    ("ping-x64", "exchanges/s", connect => Measure.PingAsync(connect, 64, duration)),
];

Console.WriteLine($"{"workload",-10} {"peer",-8} {"median",10} {"min",10} {"max",10}  {"unit",-12} of direct");
foreach (var (name, unit, run) in workloads)
{
    // Interleaved, so that what else happens on the machine happens to both.
    var results = ways.ToDictionary(way => way.Peer, _ => new List<double>());
    for (var repetition = 0; repetition < repetitions; repetition++)
    {
        foreach (var (peer, connect) in ways)
        {
            results[peer].Add(await run(connect));
        }
    }

    var direct = Median(results["direct"]);
    foreach (var (peer, values) in results)
    {
        Console.WriteLine($"{name,-10} {peer,-8} {Median(values),10:F2} {values.Min(),10:F2} {values.Max(),10:F2}  {unit,-12} {Median(values) / direct,6:P0}");
    }
}

static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
