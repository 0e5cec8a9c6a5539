using System.Buffers;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>The text of the metrics (ztunnel §10.1), without the runtime's, which are as they are.</summary>
public sealed class MetricsExpositionTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly MeshState _state = new();
    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();
    private readonly IMeterFactory _meters;
    private readonly Meter _meter;
    private readonly MetricsExposition _metrics;

    public MetricsExpositionTests()
    {
        _meters = _services.GetRequiredService<IMeterFactory>();
        _meter = _meters.Create("Mesh.Test");
        _metrics = new MetricsExposition(_meters, _state, _time, NullLogger.Instance, maxSeries: 100);
    }

    public void Dispose()
    {
        _metrics.Dispose();
        _services.Dispose();
    }

    [Fact]
    public void A_counter_is_described_under_the_name_of_its_samples_or_as_OpenMetrics_wants_it_without_total()
    {
        _meter.CreateCounter<long>("istio_tcp_sent_bytes", description: "The total").Add(3, Label("reporter", "source"));

        Assert.Equal(
            "# HELP istio_tcp_sent_bytes_total The total\n# TYPE istio_tcp_sent_bytes_total counter\nistio_tcp_sent_bytes_total{reporter=\"source\"} 3\n", Text("istio_tcp_sent_bytes"));
        Assert.Equal(
            "# HELP istio_tcp_sent_bytes The total\n# TYPE istio_tcp_sent_bytes counter\nistio_tcp_sent_bytes_total{reporter=\"source\"} 3\n",
            Text("istio_tcp_sent_bytes", ExpositionFormat.OpenMetrics));
    }

    [Fact]
    public void Both_forms_end_with_EOF()
    {
        Assert.EndsWith("\n# EOF\n", Text(ExpositionFormat.Prometheus), StringComparison.Ordinal);
        Assert.EndsWith("\n# EOF\n", Text(ExpositionFormat.OpenMetrics), StringComparison.Ordinal);
    }

    [Fact]
    public void Measurements_of_a_counter_add_up_for_each_set_of_labels_without_loss()
    {
        var counter = _meter.CreateCounter<long>("a");
        counter.Add(long.MaxValue - 10, Label("l", "1"));
        counter.Add(7, Label("l", "1"));
        counter.Add(-5, Label("l", "1"));
        counter.Add(2, Label("l", "2"));

        Assert.Equal(["a_total{l=\"1\"} 9223372036854775804", "a_total{l=\"2\"} 2"], Samples("a").Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Gauges_show_the_last_measurement_and_up_down_counters_the_sum()
    {
        var gauge = _meter.CreateGauge<double>("g");
        gauge.Record(2.5);
        gauge.Record(0.25);
        var open = _meter.CreateUpDownCounter<long>("u");
        open.Add(3);
        open.Add(-2);

        Assert.Equal(["g 0.25"], Samples("g"));
        Assert.Equal(["u 1"], Samples("u"));
        Assert.Contains("# TYPE u gauge\n", Text(ExpositionFormat.Prometheus), StringComparison.Ordinal);
    }

    [Fact]
    public void A_histogram_has_the_bounds_that_its_instrument_advises()
    {
        var histogram = _meter.CreateHistogram<double>("h_seconds", "s", "How long", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.5, 1] });
        foreach (var value in (double[])[0.25, 0.5, 0.75, 8])
        {
            histogram.Record(value, Label("l", "x"));
        }

        Assert.Equal(
            ["h_seconds_bucket{l=\"x\",le=\"0.5\"} 2", "h_seconds_bucket{l=\"x\",le=\"1\"} 3", "h_seconds_bucket{l=\"x\",le=\"+Inf\"} 4", "h_seconds_sum{l=\"x\"} 9.5", "h_seconds_count{l=\"x\"} 4"],
            Samples("h_seconds"));
        var open = Text("h_seconds", ExpositionFormat.OpenMetrics);
        Assert.Contains("le=\"1.0\"} 3\n", open, StringComparison.Ordinal);
        Assert.Contains("# TYPE h_seconds histogram\n# UNIT h_seconds seconds\n", open, StringComparison.Ordinal);
    }

    [Fact]
    public void Observed_values_are_those_of_this_scrape_and_what_is_not_observed_any_more_is_gone()
    {
        Measurement<long>[] now = [new(5, Label("l", "1")), new(6, Label("l", "2"))];
        _meter.CreateObservableGauge("o", () => now);
        Assert.Equal(["o{l=\"1\"} 5", "o{l=\"2\"} 6"], Samples("o").Order(StringComparer.Ordinal));

        now = [new(7, Label("l", "2"))];
        Assert.Equal(["o{l=\"2\"} 7"], Samples("o"));
    }

    [Fact]
    public void An_instrument_that_throws_hides_no_other()
    {
        _meter.CreateObservableGauge("bad", (Func<long>)(() => throw new InvalidOperationException("no")));
        _meter.CreateObservableGauge("good", () => 1L);
        Assert.Equal(["good 1"], Samples("good"));
    }

    [Fact]
    public void A_family_without_samples_is_left_out()
    {
        _meter.CreateCounter<long>("never_counted");
        Assert.DoesNotContain("never_counted", Text(ExpositionFormat.OpenMetrics), StringComparison.Ordinal);
    }

    [Fact]
    public void Help_says_unstable_except_for_the_four_that_Istio_promises()
    {
        var core = new[] { "istio_tcp_connections_opened", "istio_tcp_connections_closed", "istio_tcp_received_bytes", "istio_tcp_sent_bytes" };
        foreach (var name in core.Append("mesh_other"))
        {
            _meter.CreateCounter<long>(name, description: "Help").Add(1);
        }

        _meter.CreateCounter<long>("mesh_told", description: "Help (unstable)").Add(1);
        var help = Text(ExpositionFormat.OpenMetrics).Split('\n').Where(line => line.StartsWith("# HELP ", StringComparison.Ordinal)).ToList();
        Assert.Equal(core.Order(), help.Where(line => !line.Contains("unstable", StringComparison.Ordinal)).Select(line => line.Split(' ')[2]).Order());
        Assert.Contains("# HELP mesh_other Help (unstable)", help);
        Assert.Contains("# HELP mesh_told Help (unstable)", help);
    }

    [Fact]
    public void Values_of_labels_are_escaped_and_their_order_is_kept()
    {
        _meter.CreateGauge<long>("e").Record(1, Label("z", "a\"b\\c\nd}"), Label("a", "ü\ud800"), Label("http.status", 200));
        Assert.Equal(["e{z=\"a\\\"b\\\\c\\nd}\",a=\"ü\ufffd\",http_status=\"200\"} 1"], Samples("e"));
    }

    [Fact]
    public void The_runtime_is_shown_under_conforming_names()
    {
        var text = Text(ExpositionFormat.Prometheus);
        Assert.Contains("\ndotnet_gc_collections_total{gc_heap_generation=\"gen0\"} ", text, StringComparison.Ordinal);
        Assert.Contains("\ndotnet_process_cpu_time_seconds_total{", text, StringComparison.Ordinal);
        Assert.Contains("\ndotnet_thread_pool_threads ", text, StringComparison.Ordinal);
        Assert.Contains("\ndotnet_process_memory_working_set_bytes ", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Meters_of_others_and_of_other_factories_are_left_out()
    {
        using var others = new ServiceCollection().AddMetrics().BuildServiceProvider();
        others.GetRequiredService<IMeterFactory>().Create("Mesh.Test").CreateCounter<long>("foreign").Add(1);
        _meters.Create("Shop").CreateCounter<long>("orders").Add(1);
        var text = Text(ExpositionFormat.Prometheus);
        Assert.DoesNotContain("foreign", text, StringComparison.Ordinal);
        Assert.DoesNotContain("orders", text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_known_series_is_recorded_without_allocating()
    {
        var counter = _meter.CreateCounter<long>("hot");
        KeyValuePair<string, object?>[] labels = [Label("source_workload", "web"), Label("destination_workload", "cart")];
        counter.Add(1, labels);

        // Warm until the code is compiled for good.
        for (var i = 0; i < 200; i++)
        {
            counter.Add(1, labels);
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
        {
            counter.Add(1, labels);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Series_beyond_the_bound_are_dropped_and_counted()
    {
        var counter = _meter.CreateCounter<long>("many");
        for (var i = 0; i < 150; i++)
        {
            counter.Add(1, Label("i", i));
            counter.Add(1, Label("i", i % 100));
        }

        Assert.Equal(100, Samples("many").Count);
        Assert.Equal(["mesh_metrics_dropped_measurements_total{metric=\"many\"} 50"], Samples("mesh_metrics_dropped_measurements"));
    }

    [Theory]
    [InlineData("cart", "shop", 4, true)]
    [InlineData("cart", "shop", 5, true)]
    [InlineData("gone", "shop", 4, true)]
    [InlineData("gone", "shop", 5, false)]
    [InlineData("cart", "bank", 5, false)]
    [InlineData("unknown", "unknown", 60, true)]
    [InlineData("gone", "unknown", 60, true)]
    public void A_series_of_a_workload_that_is_gone_goes_five_minutes_after_its_last_measurement(string workload, string ns, int minutes, bool stays)
    {
        _state.Update(editor => editor.Upsert(TestMesh.Cart with { WorkloadName = "cart" }));
        _meter.CreateCounter<long>("c").Add(1, Label("reporter", "source"), Label("destination_workload", workload), Label("destination_workload_namespace", ns));
        _meter.CreateCounter<long>("s").Add(1, Label("source_workload", workload), Label("source_workload_namespace", ns));
        _time.Advance(TimeSpan.FromMinutes(minutes));

        Assert.Equal(stays ? 1 : 0, Samples("c").Count);
        Assert.Equal(stays ? 1 : 0, Samples("s").Count);
    }

    [Fact]
    public void A_series_that_went_begins_anew_when_it_is_measured_again_and_makes_room_meanwhile()
    {
        var counter = _meter.CreateCounter<long>("c");
        var gone = new[] { Label("source_workload", "old"), Label("source_workload_namespace", "shop") };
        for (var i = 0; i < 100; i++)
        {
            counter.Add(5, Label("source_workload", $"old-{i}"), Label("source_workload_namespace", "shop"));
        }

        _time.Advance(TimeSpan.FromMinutes(6));
        Assert.Empty(Samples("c"));
        counter.Add(2, gone);
        Assert.Equal(["c_total{source_workload=\"old\",source_workload_namespace=\"shop\"} 2"], Samples("c"));
        Assert.Empty(Samples("mesh_metrics_dropped_measurements"));
    }

    [Fact]
    public void The_mesh_is_asked_again_when_it_has_changed()
    {
        _state.Update(editor => editor.Upsert(TestMesh.Cart with { WorkloadName = "cart" }));
        _meter.CreateCounter<long>("c").Add(1, Label("source_workload", "cart"), Label("source_workload_namespace", "shop"));
        _time.Advance(TimeSpan.FromMinutes(10));
        Assert.Single(Samples("c"));

        _state.Update(editor => editor.RemoveWorkload(TestMesh.Cart.Uid));
        Assert.Empty(Samples("c"));
    }

    [Fact]
    public async Task Connections_have_the_labels_of_ztunnel_in_their_order()
    {
        var log = new AccessLog(NullLoggerFactory.Instance, _time);
        using var ztunnel = new ZtunnelMetrics(_meters, log);
        await using (log.Begin(new ConnectionRecord
        {
            Direction = ConnectionDirection.Outbound,
            Source = System.Net.IPEndPoint.Parse("10.0.0.1:1"),
            SourceWorkload = TestMesh.Web with { WorkloadName = "web", CanonicalName = "web", CanonicalRevision = "v1", Locality = new Locality("r", "z") },
            SourceIdentity = TestMesh.Web.Identity,
            HboneAddress = "10.0.0.2:8080",
            DestinationService = TestMesh.CartService,
            DestinationWorkload = TestMesh.Cart,
            DestinationIdentity = TestMesh.Cart.Identity,
        }))
        {
            // It ends at once.
        }

        Assert.Equal(
            [
                "istio_tcp_connections_closed_total{reporter=\"source\",source_workload=\"web\",source_canonical_service=\"web\",source_canonical_revision=\"v1\",source_workload_namespace=\"shop\","
                + "source_principal=\"spiffe://cluster.local/ns/shop/sa/web\",source_app=\"web\",source_version=\"v1\",source_cluster=\"Kubernetes\","
                + "destination_service=\"cart.shop.svc.cluster.local\",destination_service_namespace=\"shop\",destination_service_name=\"cart\","
                + "destination_workload=\"unknown\",destination_canonical_service=\"unknown\",destination_canonical_revision=\"unknown\",destination_workload_namespace=\"shop\","
                + "destination_principal=\"spiffe://cluster.local/ns/shop/sa/cart\",destination_app=\"unknown\",destination_version=\"unknown\",destination_cluster=\"Kubernetes\","
                + "request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy=\"mutual_tls\",source_region=\"r\",source_zone=\"z\",destination_region=\"unknown\",destination_zone=\"unknown\"} 1",
            ],
            Samples("istio_tcp_connections_closed"));
    }

    [Fact]
    public async Task Nothing_is_lost_when_many_threads_record_while_it_is_scraped()
    {
        var counter = _meter.CreateCounter<long>("busy");
        using var stop = new CancellationTokenSource();
        var scraping = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                Text(ExpositionFormat.Prometheus);
            }
        });
        await Task.WhenAll(Enumerable.Range(0, 4).Select(thread => Task.Run(() =>
        {
            for (var i = 0; i < 20_000; i++)
            {
                counter.Add(1, Label("i", i % 7));
            }
        }))).InTime();
        await stop.CancelAsync();
        await scraping.InTime();

        Assert.Equal(80_000, Samples("busy").Sum(sample => long.Parse(sample.Split(' ')[1])));
    }

    [RequiresProgram("promtool", "prometheus")]
    public async Task Promtool_finds_no_fault_but_in_names_that_Istio_has_given()
    {
        using var ztunnel = new ZtunnelMetrics(_meters, new AccessLog(NullLoggerFactory.Instance, _time));
        _ = new Dns.DnsMetrics(_meter);
        _meter.CreateHistogram<double>("h_seconds", "s", "How long").Record(1);
        _meter.CreateCounter<long>("c", description: "Escapes \\ and \n lines").Add(1, Label("l", "a\"b\\c\nd"));
        var (status, said) = await PromtoolAsync(Text(ExpositionFormat.Prometheus));
        Assert.True(status == 0, said);
    }

    private static async Task<(int Status, string Said)> PromtoolAsync(string text)
    {
        using var process = Process.Start(new ProcessStartInfo("promtool", ["check", "metrics"]) { UseShellExecute = false, RedirectStandardInput = true, RedirectStandardError = true, RedirectStandardOutput = true })!;
        var said = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(text);
        process.StandardInput.Close();
        await process.WaitForExitAsync().InTime();
        return (process.ExitCode, await said);
    }

    private string Text(ExpositionFormat format)
    {
        var output = new ArrayBufferWriter<byte>();
        _metrics.Write(output, format);
        return Encoding.UTF8.GetString(output.WrittenSpan);
    }

    // The lines of one family.
    private string Text(string family, ExpositionFormat format = ExpositionFormat.Prometheus) =>
        string.Concat(Text(format).Split('\n').Where(line => line.Split(' ', '{') is var words && (words[0] == "#" ? words.ElementAtOrDefault(2) ?? "" : words[0]).StartsWith(family, StringComparison.Ordinal)).Select(line => $"{line}\n"));

    private List<string> Samples(string family) =>
        [.. Text(family).Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#' && (line.Length == family.Length || line[family.Length] is '{' or ' ' or '_'))];

    private static KeyValuePair<string, object?> Label(string name, object? value) => new(name, value);
}
