using System.Collections.Frozen;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Mesh.AspNetCore.ControlPlanes;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Xds;
using Mesh.Xds.CertificateAuthority;
using Mesh.Xds.Client;
using Mesh.Xds.Protos;
using Mesh.Xds.Server;
using Mesh.Xds.Workloads;
using Mesh.Ztunnel;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Service = Mesh.Core.Workloads.Service;
using Workload = Mesh.Core.Workloads.Workload;

namespace Mesh.Benchmarks;

/// <summary>
/// What does a mesh cost that comes from a control plane: until a ztunnel is ready, in memory, for one change, for who carries traffic while changes come,
/// and for a control plane with a thousand clients? The ztunnel, and the thousand clients, are processes of their own.
/// </summary>
internal static class ControlPlaneLoad
{
    private const string Token = "the-token-of-the-benchmarks";
    private const int ApplicationPort = 7100;
    private const int UpdatesPerSecond = 1000;
    private const int Clients = 1000;
    private static readonly IPAddress Source = IPAddress.Parse("127.66.0.1");
    private static readonly IPAddress Destination = IPAddress.Parse("127.66.0.2");
    private const int Rounds = 5;
    private static readonly TimeSpan Watched = TimeSpan.FromSeconds(4);

    /// <param name="parts">What to measure: ztunnel, update, clients; all when there are none.</param>
    public static async Task ReportAsync(IReadOnlyCollection<string> parts)
    {
        if (Wanted("ztunnel"))
        {
            await MeasureZtunnelAsync(10_000, 1_000);
            await MeasureZtunnelAsync(100_000, 50_000);
        }

        if (Wanted("update"))
        {
            MeasureOneUpdate(100_000, 50_000);
        }

        if (Wanted("clients"))
        {
            await MeasureClientsAsync(10_000, 1_000);
        }

        bool Wanted(string part) => parts.Count == 0 || parts.Contains(part);
    }

    /// <summary>The process of the ztunnel.</summary>
    public static async Task RunZtunnelAsync(string address, string rootPath)
    {
        var state = new MeshState();
        var endpoint = Endpoint(address, rootPath);
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Services.AddSingleton(state);
        builder.Services.AddSingleton<ICertificateAuthority>(new IstioCertificateAuthority(new IstioCertificateAuthorityOptions { Endpoint = endpoint }));
        builder.Services.AddZtunnel(options =>
        {
            options.ControlPlane = endpoint;
            options.Socks5Enabled = true;
            options.DnsProxyEnabled = false;
            options.AdminPort = null;
            options.StatsPort = null;
            options.ReadinessPort = 15992;
            options.Workloads.Add(new WorkloadInfo("bench", "source", "source") { ListenAddress = Source });
            options.Workloads.Add(new WorkloadInfo("bench", "destination", "destination") { ListenAddress = Destination });
        });
        using var host = builder.Build();
        var before = GC.GetTotalMemory(forceFullCollection: true);
        var clock = Stopwatch.StartNew();
        await host.StartAsync();
        var ready = clock.Elapsed;
        var count = state.Current.WorkloadCount + state.Current.ServiceCount;
        Console.WriteLine($"ready {ready.TotalMilliseconds:F0} {(GC.GetTotalMemory(forceFullCollection: true) - before) / count} {count}");
        CollectorPauses.Watch();
        while (await Console.In.ReadLineAsync() is { } line && line != "quit")
        {
            // How long the collector has stopped the process, how often, and for how long at most since the last question.
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"gc {GC.GetTotalPauseDuration().TotalMilliseconds:F1} {GC.CollectionCount(0)} {CollectorPauses.TakeLongest():F1}"));
        }

        await host.StopAsync();
    }

    /// <summary>The process of many clients.</summary>
    public static async Task RunClientsAsync(string address, string rootPath)
    {
        var counter = new Counter();
        var clients = Enumerable.Range(0, Clients).Select(i => new XdsClient(new XdsClientOptions { Endpoint = Endpoint(address, rootPath), Node = new XdsNode($"client-{i}") })).ToList();
        var clock = Stopwatch.StartNew();
        foreach (var client in clients)
        {
            client.Subscribe(new XdsResourceType<int>(MeshResources.AddressTypeUrl, (_, octets) => octets.Length), counter);
            client.Start();
        }

        await Task.WhenAll(clients.Select(client => client.Ready));
        Console.WriteLine($"ready {clock.Elapsed.TotalSeconds.ToString("F1", CultureInfo.InvariantCulture)}");
        while (await Console.In.ReadLineAsync() is { } line && line != "quit")
        {
            var wanted = long.Parse(line, CultureInfo.InvariantCulture);
            while (counter.Changes < wanted)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, CancellationToken.None);
            }

            Console.WriteLine("all");
        }
    }

    /// <summary>The process that has the application and its client: no collector but that of the ztunnel is to be seen.</summary>
    public static async Task RunPingsAsync()
    {
        using var application = Application();
        using var client = await ConnectAsync();
        while (await Console.In.ReadLineAsync() is { } line && line != "quit")
        {
            // Not on this thread, which may be the one that polls the sockets.
            var time = TimeSpan.FromSeconds(double.Parse(line, CultureInfo.InvariantCulture));
            var (p50, p999, max) = await Task.Factory.StartNew(() => Ping(client, time), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{p50:F0} {p999:F0} {max / 1000:F1}"));
        }
    }

    private static async Task MeasureZtunnelAsync(int workloads, int services)
    {
        await using var served = await Served.StartAsync(workloads, services);
        using var ztunnel = served.Start("control-plane-ztunnel");
        var ready = (await ztunnel.StandardOutput.ReadLineAsync())!.Split(' ');
        Console.WriteLine($"{workloads} workloads, {services} services: ztunnel ready {ready[1]} ms after its start, {ready[2]} octets for each of them, ztunnel and all");

        using var pings = served.Start("control-plane-pings");

        // The control plane, this process, is on another machine in a mesh: it must not take the processors of the two that are measured.
        using var own = Process.GetCurrentProcess();
        own.PriorityClass = ProcessPriorityClass.Idle;
        var still = new List<Waits>();
        var changing = new List<Waits>();
        var (collections, paused, longest, updates) = (0, 0.0, 0.0, 0);
        for (var round = -1; round < Rounds; round++)
        {
            if (round == 0)
            {
                // The one before was to warm up.
                still.Clear();
                changing.Clear();
                (collections, paused, longest, updates) = (0, 0, 0, 0);
            }

            still.Add(Waits.Parse(await AskAsync(pings, $"{Watched.TotalSeconds}")));
            var before = (await AskAsync(ztunnel, "gc")).Split(' ');
            using var stop = new CancellationTokenSource();
            var updating = served.UpdateAsync(workloads, stop.Token);
            changing.Add(Waits.Parse(await AskAsync(pings, $"{Watched.TotalSeconds}")));
            await stop.CancelAsync();
            updates += await updating;
            var after = (await AskAsync(ztunnel, "gc")).Split(' ');
            collections += int.Parse(after[2], CultureInfo.InvariantCulture) - int.Parse(before[2], CultureInfo.InvariantCulture);
            longest = Math.Max(longest, double.Parse(after[3], CultureInfo.InvariantCulture));
            paused += double.Parse(after[1], CultureInfo.InvariantCulture) - double.Parse(before[1], CultureInfo.InvariantCulture);
        }

        own.PriorityClass = ProcessPriorityClass.Normal;
        Console.WriteLine($"  one octet through a tunnel, once a millisecond, {Rounds} rounds in turn: at rest {Waits.Describe(still)}; "
            + $"with {updates / Watched.TotalSeconds / Rounds:F0} changes/s {Waits.Describe(changing)}; collector: {collections} pauses, {paused / collections:F1} ms on average, {longest:F1} at most");
        await pings.StandardInput.WriteLineAsync("quit");
        await ztunnel.StandardInput.WriteLineAsync("quit");
        await pings.WaitForExitAsync();
        await ztunnel.WaitForExitAsync();
    }

    private static async Task MeasureClientsAsync(int workloads, int services)
    {
        await using var served = await Served.StartAsync(workloads, services);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        using var clients = served.Start("control-plane-clients");
        var ready = (await clients.StandardOutput.ReadLineAsync())!.Split(' ');
        var memory = (GC.GetTotalMemory(forceFullCollection: true) - before) / Clients;
        const int Changes = 20;
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < Changes; i++)
        {
            served.Update(i);
            await clients.StandardInput.WriteLineAsync($"{(i + 1) * Clients}");
            await clients.StandardOutput.ReadLineAsync();
        }

        Console.WriteLine($"{Clients} clients of one control plane, {workloads} workloads and {services} services: all ready in {ready[1]} s, {memory / 1000} kB managed for each at the server; "
            + $"one change is with all of them after {clock.Elapsed.TotalMilliseconds / Changes:F0} ms");
        await clients.StandardInput.WriteLineAsync("quit");
        await clients.WaitForExitAsync();
    }

    private static void MeasureOneUpdate(int workloads, int services)
    {
        var state = new MeshState();
        var resources = new MeshResources(state);
        var subscription = new XdsClient(new XdsClientOptions { Endpoint = Endpoint("localhost:1", "SYSTEM"), Node = new XdsNode("n") }).Subscribe(resources.AddressType, resources);
        var catalog = new Catalog(MeshResources.AddressTypeUrl);
        Fill(state, workloads, services);
        var updates = Enumerable.Range(0, 20_000).Select(i =>
        {
            var workload = SyntheticMesh.Workload(i % workloads) with { Node = $"other-{i}" };
            catalog.Update([(workload.Uid, AddressWriter.Write(workload), null)]);
            var response = new DeltaDiscoveryResponse { TypeUrl = MeshResources.AddressTypeUrl, Nonce = "n" };
            response.Resources.Add(catalog.Current.Resources[workload.Uid].Resource);
            return response;
        }).ToList();
        foreach (var update in updates.Take(5000))
        {
            subscription.Answer(update);
        }

        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var clock = Stopwatch.StartNew();
        foreach (var update in updates.Skip(5000))
        {
            subscription.Answer(update);
        }

        var each = clock.Elapsed.TotalMicroseconds / (updates.Count - 5000);
        Console.WriteLine($"one changed workload among {workloads}, read, checked and published: {each:F1} us, {(GC.GetAllocatedBytesForCurrentThread() - allocated) / (updates.Count - 5000)} octets allocated");
    }

    private static ControlPlaneEndpoint Endpoint(string address, string roots) => new() { Address = new Uri($"https://{address}"), RootCertificates = roots, Token = Token };

    private static void Fill(MeshState state, int workloads, int services) => state.Replace(
        SyntheticMesh.Workloads(workloads).Append(Own("source", Source)).Append(Own("destination", Destination)),
        SyntheticMesh.Services(workloads).Concat(Further(services - (workloads / 10))),
        []);

    private static Workload Own(string name, IPAddress address) => new()
    {
        Uid = name,
        Name = name,
        Namespace = "bench",
        ServiceAccount = name,
        Addresses = [address],
        Protocol = Core.Workloads.TunnelProtocol.Hbone,
        Node = "bench",
    };

    // Services without endpoints.
    private static IEnumerable<Service> Further(int count) => Enumerable.Range(0, Math.Max(count, 0)).Select(i => new Service
    {
        Name = $"further-{i}",
        Namespace = $"ns-{i % 100}",
        Hostname = $"further-{i}.ns-{i % 100}.svc.cluster.local",
        Vips = [new Core.Workloads.NetworkAddress("", new IPAddress([10, 100, (byte)(i >> 8), (byte)i]))],
        Ports = new Dictionary<int, int> { [80] = 8080 }.ToFrozenDictionary(),
    });

    private static Socket Application()
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(Destination, ApplicationPort));
        listener.Listen();
        _ = Task.Run(async () =>
        {
            using var client = await listener.AcceptAsync();
            client.NoDelay = true;
            await using var stream = new NetworkStream(client);
            await stream.CopyToAsync(stream);
        });
        return listener;
    }

    private static async Task<Socket> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(new IPEndPoint(Source, 15080));
        byte[] request = [5, 1, 0, 5, 1, 0, 1, .. Destination.GetAddressBytes(), ApplicationPort >> 8, ApplicationPort & 0xFF];
        await socket.SendAsync(request);
        var reply = new byte[12];
        await using var stream = new NetworkStream(socket);
        await stream.ReadExactlyAsync(reply);
        return socket;
    }

    private static (double P50, double P999, double Max) Ping(Socket socket, TimeSpan time)
    {
        var microseconds = new List<double>(1 << 16);
        using var never = new ManualResetEventSlim();
        var octet = new byte[1];
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < time)
        {
            var begun = clock.Elapsed;
            socket.Send(octet);
            socket.Receive(octet);
            microseconds.Add((clock.Elapsed - begun).TotalMicroseconds);
            var left = begun + TimeSpan.FromMilliseconds(1) - clock.Elapsed;
            if (left > TimeSpan.Zero)
            {
                never.Wait(left);
            }
        }

        microseconds.Sort();
        return (microseconds[microseconds.Count / 2], microseconds[(int)(microseconds.Count * 0.999)], microseconds[^1]);
    }

    private static async Task<string> AskAsync(Process process, string question)
    {
        await process.StandardInput.WriteLineAsync(question);
        return await process.StandardOutput.ReadLineAsync() ?? throw new IOException("the process has ended");
    }

    /// <summary>The longest pause of this process's collector: an object that dies with each collection asks how long it took.</summary>
    private sealed class CollectorPauses
    {
        private static double _longest;

        private CollectorPauses()
        {
        }

#pragma warning disable MA0055 // It has no resource to give back: to die is what it is for.
        ~CollectorPauses()
#pragma warning restore MA0055
        {
            var pauses = GC.GetGCMemoryInfo(GCKind.Any).PauseDurations;
            _longest = Math.Max(_longest, Math.Max(pauses[0].TotalMilliseconds, pauses[1].TotalMilliseconds));
            Watch();
        }

        public static void Watch() => _ = new CollectorPauses();

        public static double TakeLongest() => Interlocked.Exchange(ref _longest, 0);
    }

    /// <summary>Waits for an octet in one round: two percentiles in microseconds, the longest in milliseconds.</summary>
    private sealed record Waits(double P50, double P999, double Longest)
    {
        public static Waits Parse(string text)
        {
            var parts = text.Split(' ').Select(part => double.Parse(part, CultureInfo.InvariantCulture)).ToArray();
            return new Waits(parts[0], parts[1], parts[2]);
        }

        public static string Describe(IReadOnlyCollection<Waits> rounds)
        {
            return string.Create(CultureInfo.InvariantCulture, $"p50 {Median(wait => wait.P50):F0} us, p99.9 {Median(wait => wait.P999):F0} us, longest {Median(wait => wait.Longest):F1} ms (medians; {string.Join(", ", rounds.Select(wait => wait.Longest))})");

            double Median(Func<Waits, double> of) => rounds.Select(of).Order().ElementAt(rounds.Count / 2);
        }
    }

    /// <summary>A control plane in this process.</summary>
    private sealed class Served : IClientAuthenticator, IAsyncDisposable
    {
        private readonly string _root = Path.GetTempFileName();
        private readonly MeshState _state = new();
        private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
        private readonly Xds.Server.ControlPlane _controlPlane;
        private ControlPlaneServer? _server;

        private Served(int workloads, int services)
        {
            Fill(_state, workloads, services);
            File.WriteAllText(_root, _authority.Root.ExportCertificatePem());
            _controlPlane = new Xds.Server.ControlPlane(_state, this, _authority);
        }

        public static async Task<Served> StartAsync(int workloads, int services)
        {
            var served = new Served(workloads, services);
            served._server = await ControlPlaneServer.StartAsync(served._controlPlane, served._authority, new ControlPlaneServerOptions { ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0) });
            return served;
        }

        public ControlPlaneClient? Authenticate(ControlPlaneCall call) => call.Metadata("authorization") == $"Bearer {Token}" ? new ControlPlaneClient(call.Peer, "bench", []) : null;

        public Process Start(string what)
        {
            var start = new ProcessStartInfo(Environment.ProcessPath!, [typeof(ControlPlaneLoad).Assembly.Location, what, $"localhost:{_server!.LocalEndPoint.Port}", _root])
            {
                UseShellExecute = false,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            };

            // As the executable has it (Mesh.Ztunnel.csproj).
            start.Environment.TryAdd("DOTNET_GCGen0MaxBudget", "0x100000");
            start.Environment.TryAdd("DOTNET_GCGen1MaxBudget", "0x100000");
            return Process.Start(start)!;
        }

        public void Update(int number) => _state.Update(editor => editor.Upsert(SyntheticMesh.Workload(number) with { Node = $"changed-{Stopwatch.GetTimestamp()}" }));

        public async Task<int> UpdateAsync(int workloads, CancellationToken cancellationToken)
        {
            var clock = Stopwatch.StartNew();
            var done = 0;
            while (!cancellationToken.IsCancellationRequested)
            {
                for (; done < clock.Elapsed.TotalSeconds * UpdatesPerSecond; done++)
                {
                    Update(done % workloads);
                }

                await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, CancellationToken.None);
            }

            return done;
        }

        public async ValueTask DisposeAsync()
        {
            await (_server?.DisposeAsync() ?? default);
            _controlPlane.Dispose();
            _authority.Dispose();
            File.Delete(_root);
        }
    }

    /// <summary>Counts changes that are no first ones.</summary>
    private sealed class Counter : IXdsHandler<int>
    {
        private long _changes;

        public long Changes => Volatile.Read(ref _changes);

        public void Apply(XdsUpdate<int> update) => Interlocked.Add(ref _changes, update.Changed.Count(resource => !resource.IsNew));
    }
}
