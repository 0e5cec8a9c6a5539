using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Ztunnel;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Mesh.Benchmarks;

/// <summary>What do first connections cost: 64 pods of one node, each to the 63 others, one octet there and back (ztunnel §15.13)?</summary>
internal static class ManyPods
{
    private const int Count = 64;
    private const int Port = 7000;

    public static async Task ReportAsync()
    {
        var state = new MeshState();
        state.Replace(Enumerable.Range(0, Count).Select(Pod), [], []);
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Services.AddSingleton(state);
        builder.Services.AddSingleton<ICertificateAuthority>(DevelopmentCertificateAuthority.Create());
        builder.Services.AddZtunnel(options =>
        {
            options.Socks5Enabled = true;
            options.DnsProxyEnabled = false;
            options.AdminPort = null;
            options.StatsPort = null;
            options.ReadinessPort = 15991;
            foreach (var number in Enumerable.Range(0, Count))
            {
                options.Workloads.Add(new WorkloadInfo("pods", $"pod-{number}", $"pod-{number}") { ListenAddress = Address(number) });
            }
        });
        using var host = builder.Build();
        await host.StartAsync();
        var applications = Enumerable.Range(0, Count).Select(Application).ToList();
        var clock = Stopwatch.StartNew();
        await RoundAsync();
        var cold = clock.Elapsed;
        var memory = GC.GetTotalMemory(forceFullCollection: true);
        clock.Restart();
        await RoundAsync();
        var warm = clock.Elapsed;
        const int Pairs = Count * (Count - 1);
        Console.WriteLine($"{Count} pods, {Pairs} pairs: {Pairs / cold.TotalSeconds:F0} first connections/s, {Pairs / warm.TotalSeconds:F0} further ones/s, {memory / 1e6:F0} MB managed with {Pairs} HBONE connections open, both ends and clients in one process");
        applications.ForEach(application => application.Dispose());
        await host.StopAsync();
    }

    private static async Task RoundAsync() => await Parallel.ForEachAsync(
        from source in Enumerable.Range(0, Count) from destination in Enumerable.Range(0, Count) where source != destination select (source, destination),
        new ParallelOptions { MaxDegreeOfParallelism = 32 },
        async (pair, cancellationToken) => await PingAsync(Address(pair.source), Address(pair.destination), cancellationToken));

    private static async Task PingAsync(IPAddress source, IPAddress destination, CancellationToken cancellationToken)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(new IPEndPoint(source, 15080), cancellationToken);
        await using var stream = new NetworkStream(socket);
        await stream.WriteAsync(new byte[] { 5, 1, 0 }.Concat(new byte[] { 5, 1, 0, 1 }).Concat(destination.GetAddressBytes()).Concat(new byte[] { Port >> 8, Port & 0xFF, 42 }).ToArray(), cancellationToken);
        var reply = new byte[2 + 10 + 1];
        await stream.ReadExactlyAsync(reply, cancellationToken);
        if (reply[3] != 0 || reply[^1] != 42)
        {
            throw new IOException("another answer than was expected");
        }
    }

    private static Socket Application(int number)
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(Address(number), Port));
        listener.Listen(1024);
        _ = EchoAsync(listener);
        return listener;
    }

    private static async Task EchoAsync(Socket listener)
    {
        try
        {
            while (true)
            {
                _ = EchoOneAsync(await listener.AcceptAsync());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The end.
        }
    }

    private static async Task EchoOneAsync(Socket client)
    {
        await using var stream = new NetworkStream(client, ownsSocket: true);
        await stream.CopyToAsync(stream);
    }

    private static Workload Pod(int number) => new()
    {
        Uid = $"pod-{number}",
        Name = $"pod-{number}",
        Namespace = "pods",
        ServiceAccount = $"pod-{number}",
        Addresses = ImmutableArray.Create(Address(number)),
        Protocol = TunnelProtocol.Hbone,
    };

    private static IPAddress Address(int number) => new([127, 64, 0, (byte)(number + 1)]);
}
