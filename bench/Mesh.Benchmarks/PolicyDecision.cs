using System.Net;
using BenchmarkDotNet.Attributes;
using Mesh.Core.Identity;
using Mesh.Core.Policy;

namespace Mesh.Benchmarks;

/// <summary>What does a decision cost, and does it grow with policies that cannot match?</summary>
public class PolicyDecision
{
    private L4PolicySet _policies = L4PolicySet.Empty;
    private L4Connection _allowed;
    private L4Connection _denied;

    [Params(10, 1_000, 10_000)]
    public int Policies { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _policies = L4PolicySet.Create(SyntheticMesh.Policies(Policies));
        var destination = new IPEndPoint(IPAddress.Parse("10.0.0.1"), 8080);
        _allowed = new L4Connection(IPAddress.Parse("10.0.0.2"), SpiffeId.Parse($"spiffe://cluster.local/ns/ns-0/sa/sa-{Policies / 2}"), destination);
        _denied = new L4Connection(IPAddress.Parse("10.0.0.2"), SpiffeId.Parse("spiffe://cluster.local/ns/ns-0/sa/stranger"), destination);
    }

    [Benchmark(Baseline = true)]
    public L4Decision Allow() => L4Authorizer.Authorize(_policies, "ns-0", [], _allowed);

    [Benchmark]
    public L4Decision Deny() => L4Authorizer.Authorize(_policies, "ns-0", [], _denied);
}
