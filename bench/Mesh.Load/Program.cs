using System.Text.Json;
using Mesh.Load;
using Mesh.Load.Peers;

// The same as the programs that it measures: completions on the polling thread. Set before the first socket is made.
Environment.SetEnvironmentVariable("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1");

if (args is [Application.Command])
{
    await Application.RunAsync();
    return 0;
}

if (args is [IdleState.Command])
{
    await IdleState.ReportAsync();
    return 0;
}

if (LoadOptions.Parse(args) is not { } options)
{
    await Console.Error.WriteLineAsync(LoadOptions.Usage);
    return 1;
}

using var files = new PeerFiles();
using var application = await Application.StartAsync();
try
{
    (string Name, Func<Task<LoadPeer>> Start)[] all =
    [
        ("direct", () => Task.FromResult<LoadPeer>(new Direct())),
        ("mesh", () => ZtunnelPair.StartAsync(files)),
        ("nginx", () => TlsRelayPair.StartNginxAsync(files)),
        ("haproxy", () => TlsRelayPair.StartHaproxyAsync(files)),
    ];
    var starts = all.Where(peer => options.IncludesPeer(peer.Name)).Select(peer => peer.Start).ToArray();
    var table = new ResultTable();
    var peers = new List<LoadPeer>();
    foreach (var start in starts)
    {
        peers.Add(await start());
    }

    // A runtime that compiles while it runs takes some seconds of work to come to its speed; the others get the same.
    foreach (var peer in peers)
    {
        await Measure.BulkAsync(peer, 8, options.WarmUp);
        await Measure.PingAsync(peer, 64, options.WarmUp);
        await Measure.ConnectionsAsync(peer, options.WarmUp);
    }

    foreach (var (name, unit, run) in Workloads())
    {
        if (!options.Includes(name))
        {
            continue;
        }

        // Interleaved, so that what else happens on the machine happens to all.
        var samples = peers.ToDictionary(peer => peer.Name, _ => new List<Sample>());
        for (var repetition = 0; repetition < options.Repetitions; repetition++)
        {
            foreach (var peer in peers)
            {
                samples[peer.Name].Add(await run(peer));
            }
        }

        table.Add(name, unit, samples);
    }

    foreach (var peer in peers)
    {
        await peer.DisposeAsync();
    }

    foreach (var count in new[] { 1_000, 10_000 })
    {
        if (options.Includes($"idle-{count}"))
        {
            // Fresh processes each: memory that an earlier load has left is not the tunnels'.
            var able = peers.Zip(starts).Where(pair => pair.First is not Direct && pair.First.MaxConnections >= count).ToArray();
            var samples = able.ToDictionary(pair => pair.First.Name, _ => new List<Sample>());
            foreach (var (peer, start) in able)
            {
                samples[peer.Name].Add(await Measure.IdleAsync(start, count));
            }

            table.Add($"idle-{count}", "KiB/tunnel", samples);
        }
    }

    if (options.JsonFile is { } path)
    {
        await File.WriteAllTextAsync(path, JsonSerializer.Serialize(table.Rows, ResultTable.Json));
    }

    return 0;
}
finally
{
    application.Kill();
}

IEnumerable<(string Name, string Unit, Func<LoadPeer, Task<Sample>> Run)> Workloads()
{
    foreach (var connections in new[] { 1, 8 })
    {
        yield return ($"bulk-x{connections}", "Gbit/s", peer => Measure.BulkAsync(peer, connections, options.Duration));
    }

    foreach (var connections in new[] { 1, 16, 64, 1000 })
    {
        yield return ($"ping-x{connections}", "exchanges/s", peer => Measure.PingAsync(peer, connections, options.Duration));
    }

    yield return ("connect-warm", "connections/s", peer => Measure.ConnectionsAsync(peer, options.Duration));
    yield return ("handshake-cold", "handshakes/s", peer => Measure.HandshakesAsync(peer, files, options.Duration));
}
