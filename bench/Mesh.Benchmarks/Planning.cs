using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using BenchmarkDotNet.Attributes;
using Mesh.Core.Workloads;

namespace Mesh.Benchmarks;

/// <summary>What does it cost to plan a connection? The sizes are those of ztunnel's own benchmarks (ztunnel §15.13).</summary>
public class Planning
{
    private static readonly NamespacedHostname Key = new("shop", "cart.shop.svc.cluster.local");
    private readonly OutboundPlanner _planner = new(15008, port => port is 15001 or 15006 or 15008);
    private readonly Random _random = new(1);
    private readonly IPAddress _source = IPAddress.Parse("10.1.0.1");
    private readonly IPEndPoint _service = IPEndPoint.Parse("10.96.255.1:80");
    private readonly IPEndPoint _inRange = IPEndPoint.Parse("10.97.0.77:80");
    private readonly IPEndPoint _unknown = IPEndPoint.Parse("192.0.2.1:443");
    private readonly Workload _client = Endpoint(-1);
    private MeshSnapshot _mesh = MeshSnapshot.Empty;
    private MeshState _state = new();
    private Service _cart = null!;

    /// <summary>How many endpoints the service has, and how many other services there are, each with a range of addresses.</summary>
    [Params(10, 1_000, 10_000)]
    public int Count { get; set; }

    /// <summary>Whether endpoints are ranked by network, region, zone and node.</summary>
    [Params(false, true)]
    public bool ByLocality { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _cart = new Service
        {
            Name = "cart",
            Namespace = "shop",
            Hostname = Key.Hostname,
            Vips = [new NetworkAddress("", _service.Address)],
            CidrVips = [new NetworkRange("", IPNetwork.Parse("10.97.0.0/24"))],
            Ports = new Dictionary<int, int> { [80] = 8080 }.ToFrozenDictionary(),
            LoadBalancing = ByLocality
                ? new LoadBalancing(LoadBalancingMode.Failover, [RoutingScope.Network, RoutingScope.Region, RoutingScope.Zone, RoutingScope.Node], HealthPolicy.OnlyHealthy)
                : LoadBalancing.Default,
        };
        var others = Enumerable.Range(0, Count).Select(i => new Service
        {
            Name = $"other-{i}",
            Namespace = "other",
            Hostname = $"other-{i}.other.svc.cluster.local",
            Vips = [new NetworkAddress("", new IPAddress([10, 98, (byte)(i >> 8), (byte)i]))],
            CidrVips = [new NetworkRange("", AddressRange.Create(new IPAddress([11, (byte)(i >> 8), (byte)i, 0]), 24))],
            Ports = _cart.Ports,
        });
        _state = new MeshState();
        _state.Replace(Enumerable.Range(0, Count).Select(Endpoint).Append(_client), others.Append(_cart), []);
        _mesh = _state.Current;
    }

    [Benchmark]
    public OutboundPlan ServiceByAddress() => _planner.Plan(_mesh, _client, _source, _service, _random);

    [Benchmark]
    public OutboundPlan ServiceByRange() => _planner.Plan(_mesh, _client, _source, _inRange, _random);

    [Benchmark]
    public OutboundPlan Unknown() => _planner.Plan(_mesh, _client, _source, _unknown, _random);

    /// <summary>The first plan after a change among the endpoints: what was worked out about them is worked out anew.</summary>
    [Benchmark]
    public OutboundPlan AfterAChange()
    {
        _state.Update(mesh => mesh.Upsert(Endpoint(0)));
        return _planner.Plan(_state.Current, _client, _source, _service, _random);
    }

    private static Workload Endpoint(int i) => new()
    {
        Uid = $"cluster//Pod/shop/cart-{i}",
        Name = $"cart-{i}",
        Namespace = "shop",
        ServiceAccount = "cart",
        Node = $"node-{i % 100}",
        Locality = new Locality($"region-{i % 3}", $"zone-{i % 9}"),
        Addresses = [new IPAddress([10, 2, (byte)(i >> 8), (byte)i])],
        Protocol = TunnelProtocol.Hbone,
        Services = i < 0 ? ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty : ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty.Add(Key, FrozenDictionary<int, int>.Empty),
    };
}
