using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>Labels are made once for connections that are alike, and are never those of others.</summary>
public sealed class SharedLabelsTests
{
    private static readonly Workload Web = new() { Uid = "web-0", Name = "web-0", Namespace = "shop", ServiceAccount = "web", WorkloadName = "web" };
    private static readonly Workload Cart = new() { Uid = "cart-0", Name = "cart-0", Namespace = "shop", ServiceAccount = "cart", WorkloadName = "cart" };
    private static readonly Service Carts = new() { Name = "cart", Namespace = "shop", Hostname = "cart.shop.svc.cluster.local" };

    private static readonly Dictionary<string, Func<Connection, Connection>> Differences = new()
    {
        ["another direction"] = connection => connection with { Direction = ConnectionDirection.Inbound },
        ["plain text"] = connection => connection with { HboneAddress = null },
        ["another workload of the source"] = connection => connection with { Source = Web with { WorkloadName = "other" } },
        ["no workload of the source"] = connection => connection with { Source = null },
        ["another identity of the source"] = connection => connection with { SourceIdentity = Id("thief") },
        ["no identity of the source"] = connection => connection with { SourceIdentity = null },
        ["another service"] = connection => connection with { Service = Carts with { Name = "other" } },
        ["no service"] = connection => connection with { Service = null },
        ["another workload of the destination"] = connection => connection with { Destination = Cart with { ClusterId = "far" } },
        ["no workload of the destination"] = connection => connection with { Destination = null },
        ["another identity of the destination"] = connection => connection with { DestinationIdentity = Id("other") },
        ["a stranger at the source"] = connection => connection with { Source = null, SourceBaggage = Stranger("far") },
        ["another stranger at the source"] = connection => connection with { Source = null, SourceBaggage = Stranger("farther") },
        ["a stranger who was refused"] = connection => connection with { Source = null, SourceBaggage = Stranger("far"), WasOpened = false },
        ["a stranger at the destination"] = connection => connection with { Destination = null, DestinationBaggage = Stranger("far") },
        ["another stranger at the destination"] = connection => connection with { Destination = null, DestinationBaggage = Stranger("farther") },
    };

    private readonly SharedLabels _shared = new(static ends => ZtunnelMetrics.Labels(ends, ResponseFlag.None));

    public static TheoryData<string> Names => [.. Differences.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Who_is_not_the_same_has_labels_of_its_own(string difference)
    {
        var usual = new Connection().ToEnds();
        var other = Differences[difference](new Connection()).ToEnds();
        Assert.NotEqual(ZtunnelMetrics.Labels(usual, ResponseFlag.None), ZtunnelMetrics.Labels(other, ResponseFlag.None));
        for (var round = 0; round < 2; round++)
        {
            Assert.Equal(ZtunnelMetrics.Labels(usual, ResponseFlag.None), _shared.Of(usual));
            Assert.Equal(ZtunnelMetrics.Labels(other, ResponseFlag.None), _shared.Of(other));
        }
    }

    [Fact]
    public void Who_is_the_same_shares_them() => Assert.Same(_shared.Of(new Connection().ToEnds()), _shared.Of(new Connection().ToEnds()));

    // Far more than are kept.
    [Fact]
    public void Each_of_many_has_its_own()
    {
        var random = new Random(1);
        for (var round = 0; round < 20_000; round++)
        {
            var caller = Id($"caller-{random.Next(2_000)}");
            Assert.Contains(new KeyValuePair<string, object?>("source_principal", caller.ToString()), _shared.Of(new Connection { SourceIdentity = caller }.ToEnds()));
        }
    }

    private static SpiffeId Id(string serviceAccount) => SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", serviceAccount);

    private static Baggage Stranger(string @namespace) => new() { NamespaceName = @namespace, WorkloadName = "stranger" };

    private sealed record Connection
    {
        public ConnectionDirection Direction { get; init; } = ConnectionDirection.Outbound;

        public bool WasOpened { get; init; } = true;

        public string? HboneAddress { get; init; } = "10.0.0.2:80";

        public Workload? Source { get; init; } = Web;

        public SpiffeId? SourceIdentity { get; init; } = Id("web");

        public Baggage? SourceBaggage { get; init; }

        public Service? Service { get; init; } = Carts;

        public Workload? Destination { get; init; } = Cart;

        public SpiffeId? DestinationIdentity { get; init; } = Id("cart");

        public Baggage? DestinationBaggage { get; init; }

        public ConnectionEnds ToEnds() => new(new ConnectionRecord
        {
            Direction = Direction,
            Source = new IPEndPoint(IPAddress.Loopback, 40_000),
            WasOpened = WasOpened,
            HboneAddress = HboneAddress,
            SourceWorkload = Source,
            SourceIdentity = SourceIdentity,
            SourceBaggage = SourceBaggage,
            DestinationService = Service,
            DestinationWorkload = Destination,
            DestinationIdentity = DestinationIdentity,
            DestinationBaggage = DestinationBaggage,
        });
    }
}
