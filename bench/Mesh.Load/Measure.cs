using System.Diagnostics;

namespace Mesh.Load;

/// <summary>The loads. Each runs for a time, over connections that are made before the clock starts.</summary>
internal static class Measure
{
    private const int Chunk = 64 * 1024;
    private const int Message = 1024;

    /// <summary>Sends as fast as it goes; the far end only counts. Gbit/s over all connections.</summary>
    public static async Task<double> BulkAsync(Func<Task<Stream>> connect, int connections, TimeSpan duration)
    {
        var streams = await ConnectAsync(connect, connections, Application.Discard);
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
        await CloseAsync(streams);
        return sent.Sum() * 8 / elapsed.TotalSeconds / 1e9;
    }

    /// <summary>Sends a message and waits for it to come back, again and again. Exchanges a second over all connections.</summary>
    public static async Task<double> PingAsync(Func<Task<Stream>> connect, int connections, TimeSpan duration)
    {
        var streams = await ConnectAsync(connect, connections, Application.Echo);
        using var end = new CancellationTokenSource(duration);
        var clock = Stopwatch.StartNew();
        var exchanged = await Task.WhenAll(streams.Select(stream => Task.Run(async () =>
        {
            var message = new byte[Message];
            var count = 0L;
            while (!end.IsCancellationRequested)
            {
                await stream.WriteAsync(message);
                await stream.ReadExactlyAsync(message);
                count++;
            }

            return count;
        })));
        var elapsed = clock.Elapsed;
        await CloseAsync(streams);
        return exchanged.Sum() / elapsed.TotalSeconds;
    }

    private static async Task<Stream[]> ConnectAsync(Func<Task<Stream>> connect, int connections, byte what)
    {
        var streams = await Task.WhenAll(Enumerable.Range(0, connections).Select(_ => connect()));
        foreach (var stream in streams)
        {
            await stream.WriteAsync(new[] { what });
        }

        return streams;
    }

    private static async Task CloseAsync(Stream[] streams)
    {
        foreach (var stream in streams)
        {
            await stream.DisposeAsync();
        }
    }
}
