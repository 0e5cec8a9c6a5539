using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using Mesh.Core.Workloads;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>Collects what the instruments of Mesh and of the runtime measure, and writes it as Prometheus reads it (ztunnel §10.1).</summary>
/// <remarks>
/// Collects from the meters <c>Mesh.*</c> of one <see cref="IMeterFactory"/>, so that several ztunnels in one process are told apart, and from
/// <c>System.Runtime</c>, which they share. A series of a workload that the mesh no longer has goes five minutes after its last measurement.
/// Thread-safe; scrapes take turns.
/// </remarks>
internal sealed class MetricsExposition : IDisposable
{
    /// <summary>How many series a family may have.</summary>
    public const int DefaultMaxSeries = 50_000;

    private const string RuntimeMeterName = "System.Runtime";
    private const string Unstable = "unstable";

    private static readonly TimeSpan KeptAfterLast = TimeSpan.FromMinutes(5);

    // What Istio promises to keep; all others say that they may change.
    private static readonly FrozenSet<string> Core =
        FrozenSet.Create("istio_tcp_connections_opened", "istio_tcp_connections_closed", "istio_tcp_received_bytes", "istio_tcp_sent_bytes");

    private readonly Lock _scrape = new();
    private readonly ConcurrentDictionary<string, MetricFamily> _families = new();
    private readonly ConcurrentDictionary<MetricFamily, bool> _told = new();
    private readonly MeterListener _listener = new();
    private readonly IMeterFactory _meters;
    private readonly Counter<long> _dropped;
    private readonly KnownWorkloads _workloads;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly int _maxSeries;

    /// <summary>Begins to collect.</summary>
    public MetricsExposition(IMeterFactory meters, MeshState state, TimeProvider time, ILogger logger, int maxSeries = DefaultMaxSeries)
    {
        _meters = meters;
        _workloads = new KnownWorkloads(state);
        _time = time;
        _logger = logger;
        _maxSeries = maxSeries;
        _dropped = meters.Create(ZtunnelMetrics.MeterName).CreateCounter<long>(
            "mesh_metrics_dropped_measurements", description: "The total number of measurements dropped because their metric has too many series (unstable)");
        _listener.InstrumentPublished = OnPublished;
        _listener.SetMeasurementEventCallback<byte>(static (_, value, tags, state) => ((MetricFamily)state!).Record((long)value, tags));
        _listener.SetMeasurementEventCallback<short>(static (_, value, tags, state) => ((MetricFamily)state!).Record((long)value, tags));
        _listener.SetMeasurementEventCallback<int>(static (_, value, tags, state) => ((MetricFamily)state!).Record((long)value, tags));
        _listener.SetMeasurementEventCallback<long>(static (_, value, tags, state) => ((MetricFamily)state!).Record(value, tags));
        _listener.SetMeasurementEventCallback<float>(static (_, value, tags, state) => ((MetricFamily)state!).Record((double)value, tags));
        _listener.SetMeasurementEventCallback<double>(static (_, value, tags, state) => ((MetricFamily)state!).Record(value, tags));
        _listener.SetMeasurementEventCallback<decimal>(static (_, value, tags, state) => ((MetricFamily)state!).Record((double)value, tags));
        _listener.Start();
    }

    /// <summary>Writes all families that have samples, by name.</summary>
    public void Write(IBufferWriter<byte> output, ExpositionFormat format)
    {
        lock (_scrape)
        {
            Observe_NeedsLock();
            var writer = new ExpositionWriter(output, format);
            foreach (var family in _families.Values.OrderBy(family => family.Name, StringComparer.Ordinal))
            {
                Write(writer, family);
            }

            writer.End();
        }
    }

    public void Dispose() => _listener.Dispose();

    private void OnPublished(Instrument instrument, MeterListener listener)
    {
        var isOurs = ReferenceEquals(instrument.Meter.Scope, _meters) && instrument.Meter.Name.StartsWith("Mesh.", StringComparison.Ordinal);
        if (!isOurs && instrument.Meter.Name != RuntimeMeterName)
        {
            return;
        }

        var family = _families.GetOrAdd(MetricName.Of(instrument), _ => new MetricFamily(instrument, _maxSeries, _time, OnDropped));
        if (family.Fits(instrument))
        {
            listener.EnableMeasurementEvents(instrument, family);
        }
        else
        {
            _logger.InstrumentLeftOut(instrument.Name);
        }
    }

    private void OnDropped(MetricFamily family)
    {
        if (_told.TryAdd(family, true))
        {
            _logger.SeriesDropped(family.Name, _maxSeries);
        }

        _dropped.Add(1, new KeyValuePair<string, object?>("metric", family.Name));
    }

    private void Observe_NeedsLock()
    {
        var before = _time.GetTimestamp();
        foreach (var family in _families.Values)
        {
            foreach (var series in family.Series)
            {
                if (family.IsObservable)
                {
                    // It comes back when it is observed again.
                    family.Retire(series, before);
                }
                else if (_time.GetElapsedTime(series.LastMeasured, before) >= KeptAfterLast && _workloads.IsOfGone(series.Labels))
                {
                    family.Retire(series, series.LastMeasured);
                }
            }
        }

        try
        {
            _listener.RecordObservableInstruments();
        }
        catch (AggregateException e)
        {
            // One instrument's fault must not hide the others.
            _logger.ObservationFailed(e);
        }
    }

    private static void Write(ExpositionWriter writer, MetricFamily family)
    {
        var isDescribed = false;
        foreach (var series in family.Series)
        {
            if (!isDescribed)
            {
                isDescribed = true;
                writer.Family(family.Name, family.Type, HelpOf(family), family.Unit);
            }

            series.Write(writer, family.Name, family.Type is MetricType.Counter ? "_total" : "");
        }
    }

    private static string HelpOf(MetricFamily family) =>
        Core.Contains(family.Name) || family.Help.Contains(Unstable, StringComparison.Ordinal) ? family.Help : $"{family.Help.TrimEnd('.')} ({Unstable})";
}
