using BenchmarkDotNet.Attributes;
using Mesh.Core.Workloads;

namespace Mesh.Benchmarks;

/// <summary>What do a lookup and a change cost in a mesh of 100,000 workloads?</summary>
public class StateLookup
{
    private const int Count = 100_000;
    private readonly MeshState _state = new();
    private readonly NetworkAddress _address = new("", SyntheticMesh.Address(Count / 2));
    private readonly Workload[] _versions = [SyntheticMesh.Workload(Count / 2), SyntheticMesh.Workload(Count / 2, WorkloadStatus.Unhealthy)];
    private int _version;

    [GlobalSetup]
    public void Setup() => _state.Replace(SyntheticMesh.Workloads(Count), SyntheticMesh.Services(Count), []);

    [Benchmark]
    public Workload? WorkloadByAddress() => _state.Current.FindWorkload(_address);

    [Benchmark]
    public Service? ServiceByHostname() => _state.Current.FindServiceByHostname("service-50.ns-50.svc.cluster.local", "ns-0");

    [Benchmark]
    public void ReplaceOneWorkload() => _state.Update(editor => editor.Upsert(_versions[_version++ & 1]));
}
