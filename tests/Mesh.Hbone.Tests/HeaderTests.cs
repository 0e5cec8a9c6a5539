using System.Net;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Core.Workloads;

namespace Mesh.Hbone;

/// <summary>The headers of HBONE: baggage, forwarded, and what may be a header at all.</summary>
public sealed class HeaderTests
{
    private static readonly Baggage Whole = new()
    {
        ClusterName = "c1",
        NamespaceName = "shop",
        WorkloadType = WorkloadType.CronJob,
        WorkloadName = "web",
        ServiceName = "web-app",
        ServiceVersion = "v2",
        Region = "eu",
        Zone = "eu-1",
    };

    [Fact]
    public void Baggage_is_written_in_the_order_of_ztunnel() => Assert.Equal(
        "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.cronjob.name=web,service.name=web-app,service.version=v2,cloud.region=eu,cloud.availability_zone=eu-1", Whole.ToString());

    [Theory]
    [InlineData(WorkloadType.Deployment, "k8s.deployment.name=a")]
    [InlineData(WorkloadType.CronJob, "k8s.cronjob.name=a")]
    [InlineData(WorkloadType.Pod, "k8s.pod.name=a")]
    [InlineData(WorkloadType.Job, "k8s.job.name=a")]
    public void The_kind_of_a_workload_is_in_its_key(WorkloadType type, string expected)
    {
        var baggage = new Baggage { WorkloadType = type, WorkloadName = "a" };
        Assert.Equal(expected, baggage.ToString());
        Assert.Equal(baggage, Baggage.Parse([expected]));
    }

    [Theory]
    [InlineData("", null, null)]
    [InlineData("service.name=a", "a", null)]
    [InlineData("service.name=a,service.name=b", "b", null)]
    [InlineData("service.name=a|service.name=b", "b", null)]
    [InlineData("service.name=a,service.name=", null, null)]
    [InlineData(" service.name = a , cloud.region = r ", "a", "r")]
    [InlineData("service.name,cloud.region=r", null, "r")]
    [InlineData("service.name=a=b", "a=b", null)]
    [InlineData("unknown=x,,=,==,service.name=a", "a", null)]
    [InlineData("SERVICE.NAME=a", null, null)]
    public void Baggage_is_read_as_far_as_it_is_understood(string lines, string? service, string? region) =>
        Assert.Equal(new Baggage { ServiceName = service, Region = region }, Baggage.Parse(lines.Split('|')));

    [Theory]
    [InlineData("a,b")]
    [InlineData("a\nb")]
    [InlineData("a\u2026")]
    [InlineData("")]
    public void What_would_break_the_header_is_left_out(string value) =>
        Assert.Equal("cloud.region=r", new Baggage { ServiceName = value, Region = "r" }.ToString());

    [Fact]
    public void Baggage_with_too_many_members_is_read_up_to_a_bound() =>
        Assert.Null(Baggage.Parse([string.Concat(Enumerable.Repeat("x=y,", 10_000)) + "service.name=a"]).ServiceName);

    [Fact]
    public void Baggage_survives_writing_and_reading()
    {
        var texts = Gen.Elements("a", "web-1", "x.y", "a=b", "ü").OrNull();
        var baggage =
            from cluster in texts
            from ns in texts
            from type in Gen.Elements(WorkloadType.Deployment, WorkloadType.CronJob, WorkloadType.Pod, WorkloadType.Job)
            from name in Gen.Elements("a", "web-1")
            from service in texts
            from version in texts
            from region in texts
            from zone in texts
            select new Baggage { ClusterName = cluster, NamespaceName = ns, WorkloadType = type, WorkloadName = name, ServiceName = service, ServiceVersion = version, Region = region, Zone = zone };
        Check.One(Config.QuickThrowOnFailure, Prop.ForAll(baggage.ToArbitrary(), value => Baggage.Parse([value.ToString()]) == value));
    }

    [Theory]
    [InlineData("for=\"10.0.0.1:80\";host=a.b", "10.0.0.1:80", "a.b")]
    [InlineData("for=\"[::1]:80\"", "[::1]:80", null)]
    [InlineData("For=x; HOST=\"a\"", "x", "a")]
    [InlineData("host=a", null, "a")]
    [InlineData("proto=https;by=x;host=a", null, "a")]
    public void Forwarded_is_read(string value, string? client, string? host) => Assert.Equal(new Forwarded(client, host), Forwarded.Parse(value));

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("proto=https")]
    [InlineData("for=;host=")]
    [InlineData("for")]
    [InlineData("host=\u00FC")]
    [InlineData("host=a\tb")]
    public void Forwarded_that_says_nothing_is_none(string? value) => Assert.Null(Forwarded.Parse(value));

    [Theory]
    [InlineData("10.0.0.1", 80, "a.b", "for=\"10.0.0.1:80\";host=a.b")]
    [InlineData("10.0.0.1", 80, null, "for=\"10.0.0.1:80\"")]
    [InlineData("::1", 80, null, "for=\"[::1]:80\"")]
    [InlineData("::ffff:10.0.0.1", 80, null, "for=\"10.0.0.1:80\"")]
    public void Forwarded_is_written_and_survives_reading(string address, int port, string? host, string expected)
    {
        var forwarded = Forwarded.Of(new IPEndPoint(IPAddress.Parse(address), port), host);
        Assert.Equal(expected, forwarded.ToString());
        Assert.Equal(forwarded, Forwarded.Parse(expected));
    }

    [Theory]
    [InlineData("", "x")]
    [InlineData("Upper", "x")]
    [InlineData("with space", "x")]
    [InlineData(":method", "x")]
    [InlineData("ü", "x")]
    [InlineData("a", "x\r\ny: z")]
    [InlineData("a", "\0")]
    [InlineData("a", "\u007F")]
    [InlineData("a", "\u0100")]
    public void What_is_not_a_header_cannot_be_added(string name, string value) => Assert.Throws<ArgumentException>(() => new HboneHeaders().Add(name, value));

    [Fact]
    public void A_name_may_stand_several_times()
    {
        var headers = new HboneHeaders { { "a", "1" }, { "b", "x\ty" }, { "a", "2" } };
        Assert.Equal((3, "1", null), (headers.Count, headers["a"], headers["c"]));
        Assert.Equal(["1", "2"], headers.GetValues("a"));
        Assert.Equal(["a", "b", "a"], headers.Select(header => header.Key));
    }
}
