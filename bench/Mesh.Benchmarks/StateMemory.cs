using System.Diagnostics;
using Mesh.Core.Workloads;

namespace Mesh.Benchmarks;

/// <summary>What does a mesh of 100,000 workloads take to load and to hold?</summary>
internal static class StateMemory
{
    private const int Count = 100_000;

    public static void Report()
    {
        // The records themselves are there in any case; what the state adds is its indexes.
        var before = GC.GetTotalMemory(forceFullCollection: true);
        var workloads = SyntheticMesh.Workloads(Count).ToList();
        var services = SyntheticMesh.Services(Count).ToList();
        var records = GC.GetTotalMemory(forceFullCollection: true);
        var clock = Stopwatch.StartNew();
        var state = new MeshState();
        state.Replace(workloads, services, []);
        var loaded = clock.Elapsed;
        var total = GC.GetTotalMemory(forceFullCollection: true);
        Console.WriteLine($"state of {Count} workloads, {services.Count} services: records {(records - before) / 1e6:F0} MB, indexes {(total - records) / 1e6:F0} MB, loaded in {loaded.TotalMilliseconds:F0} ms");
        GC.KeepAlive(state);
    }
}
