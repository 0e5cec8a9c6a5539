using System.Globalization;
using Mesh.Load.Peers;

namespace Mesh.Load;

/// <summary>What does a ztunnel pair hold and use while nothing happens, with how many connections open and how many workloads known?</summary>
internal static class IdleState
{
    public const string Command = "idle-state";

    private static readonly TimeSpan Watched = TimeSpan.FromSeconds(5);

    public static async Task ReportAsync()
    {
        using var files = new PeerFiles();
        using var application = await Application.StartAsync();
        Console.WriteLine("workloads  connections  resident of both MiB  KiB for each connection and end  processor of both %");
        foreach (var workloads in new[] { 0, 10_000, 100_000 })
        {
            foreach (var connections in new[] { 1_000, 10_000 })
            {
                await using var peer = await ZtunnelPair.StartAsync(files, workloads);
                var before = peer.ResidentKiB();
                var streams = new List<Stream>();
                for (var i = 0; i < connections; i++)
                {
                    streams.Add(await peer.ConnectAsync());
                }

                await Task.Delay(TimeSpan.FromSeconds(1));
                var used = peer.ProcessorSeconds();
                await Task.Delay(Watched);
                used = peer.ProcessorSeconds() - used;
                var resident = peer.ResidentKiB();
                Console.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{workloads,9}  {connections,11}  {resident / 1024.0,20:F0}  {(resident - before) / 2.0 / connections,31:F1}  {used / Watched.TotalSeconds * 100,19:F1}"));
                foreach (var stream in streams)
                {
                    await stream.DisposeAsync();
                }
            }
        }
    }
}
