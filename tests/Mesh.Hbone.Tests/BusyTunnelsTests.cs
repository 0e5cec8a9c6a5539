using System.Diagnostics;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;
using Xunit.Abstractions;

namespace Mesh.Hbone;

/// <summary>A thousand tunnels at work all the time, both ways, each octet looked at. A few seconds of it; a minute when MESH_LONG_TESTS is 1.</summary>
public sealed class BusyTunnelsTests(ITestOutputHelper output)
{
    private const int Tunnels = 1_000;

    // Pieces of whatever size.
    private const int Period = 251;
    private const int LargestPiece = 8 * 1024;
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    // What is sent at a place of the stream follows from the place: a period that is no power of two.
    private static readonly byte[] Pattern = [.. Enumerable.Range(0, LargestPiece + Period).Select(i => (byte)(i % Period))];

    private static TimeSpan Duration => Environment.GetEnvironmentVariable("MESH_LONG_TESTS") == "1" ? TimeSpan.FromSeconds(60) : TimeSpan.FromSeconds(3);

    [Fact]
    public async Task A_thousand_busy_tunnels_carry_their_own_octets_without_an_error()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        await using var certificates = new WorkloadCertificates(authority);
        await using var listener = HboneListener.Start(new SocketTransportFactory(new SocketTransportOptions { EventLoops = Loops.Shared }).Listen(new IPEndPoint(IPAddress.Loopback, 0)), new HboneListenerOptions
        {
            Certificate = token => certificates.GetAsync(Cart, cancellationToken: token),
            Trust = authority.TrustBundle,
        });
        await using var pool = new HbonePool(new HboneClient(certificates));
        var destination = new HboneDestination(Web, [Cart], listener.LocalEndPoint);
        using var stop = new CancellationTokenSource();

        var serving = ServeAsync(listener, stop.Token);
        var tunnels = await Task.WhenAll(Enumerable.Range(0, Tunnels).Select(i => pool.ConnectAsync(destination, $"10.0.0.1:{i}"))).InTime();
        var connections = pool.ConnectionCount;
        var began = Stopwatch.StartNew();
        stop.CancelAfter(Duration);
        var exchanges = tunnels.Select((tunnel, i) => ExchangeAsync(tunnel, i, stop.Token)).ToArray();
        var heard = await Task.WhenAll(exchanges).WaitAsync(Duration + Eventually.Bound);
        var elapsed = began.Elapsed;
        var heardByServer = (await serving.InTime()).ToDictionary(served => served.Number, served => served.Traffic);

        // Neither end has lost an octet, and every tunnel has had its turn.
        for (var i = 0; i < Tunnels; i++)
        {
            Assert.Equal((heard[i].Sent, heard[i].Heard), (heardByServer[i].Heard, heardByServer[i].Sent));
            Assert.True(heard[i] is { Sent: > 0, Heard: > 0 }, $"tunnel {i}: {heard[i]}");
        }

        var total = heard.Sum(one => one.Sent + one.Heard);
        output.WriteLine(
            $"{Tunnels} tunnels on {connections} connections for {elapsed.TotalSeconds:0.0} s: {total / 1048576.0:0} MiB both ways, {total / 1048576.0 / elapsed.TotalSeconds:0} MiB/s; "
            + $"least on a tunnel {heard.Min(one => one.Sent + one.Heard) / 1024} KiB, most {heard.Max(one => one.Sent + one.Heard) / 1024} KiB");
    }

    private static async Task<(int Number, Traffic Traffic)[]> ServeAsync(HboneListener listener, CancellationToken stop)
    {
        var serving = new List<Task<(int, Traffic)>>();
        for (var i = 0; i < Tunnels; i++)
        {
            using var request = await listener.AcceptAsync(CancellationToken.None);
            var number = int.Parse(request!.Authority.Split(':')[1]);
            var tunnel = request.Accept();
            serving.Add(Task.Run(async () => (number, await ExchangeAsync(tunnel, number, stop)), CancellationToken.None));
        }

        return await Task.WhenAll(serving);
    }

    // Both ends send until they are told to stop, then the end; and hear until the other's end.
    private static async Task<Traffic> ExchangeAsync(HboneTunnel tunnel, int number, CancellationToken stop)
    {
        await using var disposing = tunnel;
        var sending = SendAsync(tunnel, new Random(number), stop);
        var heard = await HearAsync(tunnel);
        return new Traffic(await sending, heard);
    }

    private static async Task<long> SendAsync(HboneTunnel tunnel, Random random, CancellationToken stop)
    {
        var sent = 0L;
        do
        {
            var piece = random.Next(1, LargestPiece);
            await tunnel.Output.WriteAsync(Pattern.AsMemory((int)(sent % Period), piece), CancellationToken.None);
            sent += piece;
        }
        while (!stop.IsCancellationRequested);
        await tunnel.Output.CompleteAsync();
        return sent;
    }

    private static async Task<long> HearAsync(HboneTunnel tunnel)
    {
        var heard = 0L;
        while (true)
        {
            var result = await tunnel.Input.ReadAsync(CancellationToken.None);
            foreach (var segment in result.Buffer)
            {
                heard = Check(segment.Span, heard);
            }

            tunnel.Input.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                return heard;
            }
        }
    }

    private static long Check(ReadOnlySpan<byte> octets, long at)
    {
        while (!octets.IsEmpty)
        {
            var part = octets[..Math.Min(octets.Length, LargestPiece)];
            if (!part.SequenceEqual(Pattern.AsSpan((int)(at % Period), part.Length)))
            {
                throw new InvalidDataException($"between octets {at} and {at + part.Length} there is another than was sent");
            }

            at += part.Length;
            octets = octets[part.Length..];
        }

        return at;
    }

    private sealed record Traffic(long Sent, long Heard);
}
