using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>What is remembered of baggage is what would have been worked out.</summary>
public sealed class KnownBaggageTests
{
    private readonly KnownBaggage _known = new();

    [Theory]
    [InlineData]
    [InlineData("")]
    [InlineData("k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web")]
    [InlineData("k8s.namespace.name=shop", "k8s.deployment.name=web")]
    [InlineData("k8s.namespace.name=shop", "k8s.namespace.name=other")]
    public void A_peer_is_read_as_it_says(params string[] lines)
    {
        var headers = new HboneHeaders().Add("other", "k8s.namespace.name=no");
        foreach (var line in lines)
        {
            headers.Add(Baggage.HeaderName, line);
        }

        for (var round = 0; round < 2; round++)
        {
            Assert.Equal(Baggage.Parse(lines), _known.Parse(headers));
        }
    }

    // Far more than are kept, and some longer than any that is.
    [Fact]
    public void Each_of_many_peers_is_itself()
    {
        var random = new Random(1);
        for (var round = 0; round < 5_000; round++)
        {
            var name = $"web-{random.Next(1_000)}";
            var line = $"k8s.namespace.name=shop,k8s.deployment.name={name}" + string.Concat(Enumerable.Repeat(",unknown=value", random.Next(100)));
            Assert.Equal(name, _known.Parse(new HboneHeaders().Add(Baggage.HeaderName, line)).WorkloadName);
        }
    }

    [Fact]
    public void Our_workload_is_told_as_it_is_now()
    {
        var workload = new Workload { Uid = "web-0", Name = "web-0", Namespace = "shop", WorkloadName = "web" };
        var moved = workload with { WorkloadName = "shopfront" };
        foreach (var now in new[] { workload, workload, moved, workload, moved })
        {
            Assert.Equal(Baggage.Of(now).ToString(), _known.TextOf(now));
        }
    }
}
