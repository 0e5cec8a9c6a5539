using System.Diagnostics;
using System.Globalization;
using Mesh.Load.Peers;

namespace Mesh.Load;

/// <summary>What one run of a load gave.</summary>
/// <param name="Value">In the unit of the workload.</param>
/// <param name="ProcessorSeconds">What the peer used, for a gigabyte or for 100,000 exchanges; 0 when that says nothing.</param>
/// <param name="P50">Half of the exchanges took at most this; microseconds, 0 when it was not measured.</param>
/// <param name="P99">The same for 99 of 100.</param>
/// <param name="P999">The same for 999 of 1,000.</param>
internal readonly record struct Sample(double Value, double ProcessorSeconds = 0, double P50 = 0, double P99 = 0, double P999 = 0);

/// <summary>The loads. Each runs for a time, over connections that are made before the clock starts.</summary>
internal static class Measure
{
    private const int Chunk = 64 * 1024;
    private const int Message = 1024;
    private const int ConnectingAtOnce = 64;
    private const int Clients = 16;

    /// <summary>Sends as fast as it goes; the far end only counts. Gbit/s over all connections.</summary>
    public static async Task<Sample> BulkAsync(LoadPeer peer, int connections, TimeSpan duration)
    {
        var streams = await ConnectAsync(peer, connections, Application.Discard);
        var processor = peer.ProcessorSeconds();
        using var end = new CancellationTokenSource(duration);
        var clock = Stopwatch.StartNew();
        var sent = await Task.WhenAll(streams.Select(stream => Task.Run(async () =>
        {
            var chunk = new byte[Chunk];
            var total = 0L;
            while (!end.IsCancellationRequested)
            {
                await stream.WriteAsync(chunk);
                total += chunk.Length;
            }

            return total;
        })));
        var elapsed = clock.Elapsed;
        processor = peer.ProcessorSeconds() - processor;
        await CloseAsync(streams);
        return new Sample(sent.Sum() * 8 / elapsed.TotalSeconds / 1e9, processor / (sent.Sum() / 1e9));
    }

    /// <summary>Sends a message and waits for it to come back, again and again. Exchanges a second over all connections.</summary>
    public static async Task<Sample> PingAsync(LoadPeer peer, int connections, TimeSpan duration)
    {
        var streams = await ConnectAsync(peer, connections, Application.Echo);
        var processor = peer.ProcessorSeconds();
        using var end = new CancellationTokenSource(duration);
        var clock = Stopwatch.StartNew();
        var took = await Task.WhenAll(streams.Select(stream => Task.Run(async () =>
        {
            var message = new byte[Message];
            var times = new List<long>();
            while (!end.IsCancellationRequested)
            {
                var begin = Stopwatch.GetTimestamp();
                await stream.WriteAsync(message);
                await stream.ReadExactlyAsync(message);
                times.Add(Stopwatch.GetTimestamp() - begin);
            }

            return times;
        })));
        var elapsed = clock.Elapsed;
        processor = peer.ProcessorSeconds() - processor;
        await CloseAsync(streams);
        var all = took.SelectMany(times => times).Order().ToArray();
        return new Sample(all.Length / elapsed.TotalSeconds, processor / all.Length * 100_000, Quantile(all, 0.5), Quantile(all, 0.99), Quantile(all, 0.999));
    }

    /// <summary>Connects, exchanges one octet, closes; sixteen clients at once. Connections a second.</summary>
    public static async Task<Sample> ConnectionsAsync(LoadPeer peer, TimeSpan duration)
    {
        await using (await peer.ConnectAsync())
        {
            // Warm: what can be shared between connections is there.
        }

        using var end = new CancellationTokenSource(duration);
        var clock = Stopwatch.StartNew();
        var made = await Task.WhenAll(Enumerable.Range(0, Clients).Select(_ => Task.Run(async () =>
        {
            byte[] octets = [Application.Echo, 0];
            var count = 0L;
            while (!end.IsCancellationRequested)
            {
                await using var stream = await peer.ConnectAsync();
                await stream.WriteAsync(octets);
                await stream.ReadExactlyAsync(octets.AsMemory(1));
                count++;
            }

            return count;
        })));
        return new Sample(made.Sum() / clock.Elapsed.TotalSeconds);
    }

    /// <summary>TLS handshakes a second that the far proxy answers, from a native client; for a peer without TLS, connections.</summary>
    public static async Task<Sample> HandshakesAsync(LoadPeer peer, PeerFiles files, TimeSpan duration)
    {
        var target = peer.TlsEndPoint ?? Application.EndPoint;
        var mode = peer.TlsEndPoint is null ? "plain" : peer.SpeaksFirst ? "tls-listen" : "tls-echo";
        string[] arguments =
        [
            Path.Combine(AppContext.BaseDirectory, "handshakes.py"), mode, $"{target.Address}", $"{target.Port}", files.PathOf("near.crt"), files.PathOf("near.key"), files.Root,
            duration.TotalSeconds.ToString(CultureInfo.InvariantCulture),
        ];
        using var process = Process.Start(new ProcessStartInfo("/usr/bin/python3", arguments) { RedirectStandardOutput = true, UseShellExecute = false })!;
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? new Sample(double.Parse(output, CultureInfo.InvariantCulture)) : throw new IOException($"handshakes.py failed with {process.ExitCode}");
    }

    /// <summary>Opens tunnels that then do nothing. KiB of memory that each costs the pair, sockets not counted.</summary>
    public static async Task<Sample> IdleAsync(Func<Task<LoadPeer>> start, int connections)
    {
        await using var peer = await start();
        var first = await ConnectAsync(peer, 1, Application.Echo);
        var before = peer.ResidentKiB();
        var streams = await ConnectAsync(peer, connections, Application.Echo);

        // What was needed for the opening only is given back meanwhile.
        await Task.Delay(TimeSpan.FromSeconds(1));
        var resident = peer.ResidentKiB();
        await CloseAsync([.. first, .. streams]);
        return new Sample((double)(resident - before) / connections);
    }

    private static async Task<Stream[]> ConnectAsync(LoadPeer peer, int connections, byte what)
    {
        using var turns = new SemaphoreSlim(ConnectingAtOnce);
        return await Task.WhenAll(Enumerable.Range(0, connections).Select(async _ =>
        {
            await turns.WaitAsync();
            try
            {
                // One octet there, and back from the one that echoes: the whole way stands.
                var stream = await peer.ConnectAsync();
                byte[] octets = [what, 0];
                await stream.WriteAsync(octets);
                if (what == Application.Echo)
                {
                    await stream.ReadExactlyAsync(octets.AsMemory(1));
                }

                return stream;
            }
            finally
            {
                turns.Release();
            }
        }));
    }

    private static async Task CloseAsync(Stream[] streams)
    {
        foreach (var stream in streams)
        {
            await stream.DisposeAsync();
        }
    }

    private static double Quantile(long[] sorted, double quantile) =>
        sorted.Length == 0 ? 0 : Stopwatch.GetElapsedTime(0, sorted[Math.Min((int)(sorted.Length * quantile), sorted.Length - 1)]).TotalMicroseconds;
}
