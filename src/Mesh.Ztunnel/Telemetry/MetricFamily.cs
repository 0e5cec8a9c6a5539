using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>What a family is, as its TYPE line says.</summary>
internal enum MetricType
{
    Counter,
    Gauge,
    Histogram,
}

/// <summary>All series of one name. Recording allocates nothing for a set of labels that is known.</summary>
internal sealed class MetricFamily
{
    private static readonly double[] DefaultBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

    private readonly ConcurrentDictionary<KeyValuePair<string, object?>[], MetricSeries> _series = new(LabelComparer.Instance);
    private readonly ConcurrentDictionary<KeyValuePair<string, object?>[], MetricSeries>.AlternateLookup<ReadOnlySpan<KeyValuePair<string, object?>>> _byLabels;
    private readonly TimeProvider _time;
    private readonly Action<MetricFamily> _dropped;
    private readonly MetricAggregation _aggregation;
    private readonly double[] _bounds;
    private readonly int _maxSeries;

    // Asking the dictionary takes all of its locks.
    private int _count;

    /// <param name="instrument">The first instrument of the name.</param>
    /// <param name="maxSeries">How many series there may be.</param>
    /// <param name="time">The clock.</param>
    /// <param name="dropped">Called for each measurement that would make one series too many.</param>
    public MetricFamily(Instrument instrument, int maxSeries, TimeProvider time, Action<MetricFamily> dropped)
    {
        _byLabels = _series.GetAlternateLookup<ReadOnlySpan<KeyValuePair<string, object?>>>();
        _maxSeries = maxSeries;
        _time = time;
        _dropped = dropped;
        Name = MetricName.Of(instrument);
        Unit = MetricName.Unit(instrument.Unit);
        Help = instrument.Description ?? "";
        IsObservable = instrument.IsObservable;
        (Type, _aggregation) = KindOf(instrument);
        _bounds = Type is MetricType.Histogram ? BoundsOf(instrument) : [];
    }

    public string Name { get; }

    public string Help { get; }

    public string? Unit { get; }

    public MetricType Type { get; }

    /// <summary>Whether its series are those that the last look found, no others.</summary>
    public bool IsObservable { get; }

    public IEnumerable<MetricSeries> Series => _series.Select(pair => pair.Value);

    /// <summary>Whether an instrument of the same name can be part of the family.</summary>
    public bool Fits(Instrument instrument) => KindOf(instrument) == (Type, _aggregation) && instrument.IsObservable == IsObservable;

    public void Record(long value, ReadOnlySpan<KeyValuePair<string, object?>> labels)
    {
        if (value < 0 && Type is MetricType.Counter)
        {
            return;
        }

        while (Find(labels) is { } series && !series.TryRecord(value, _time.GetTimestamp()))
        {
            // Dropped between finding it and recording; the next one found is another.
        }
    }

    public void Record(double value, ReadOnlySpan<KeyValuePair<string, object?>> labels)
    {
        if (double.IsNaN(value) || (value < 0 && Type is MetricType.Counter))
        {
            return;
        }

        while (Find(labels) is { } series && !series.TryRecord(value, _time.GetTimestamp()))
        {
            // Dropped between finding it and recording; the next one found is another.
        }
    }

    /// <summary>Drops a series when nothing was measured in it since a moment.</summary>
    public void Retire(MetricSeries series, long since)
    {
        if (series.TryRetire(since) && _series.TryRemove(KeyValuePair.Create(series.Labels, series)))
        {
            Interlocked.Decrement(ref _count);
        }
    }

    private MetricSeries? Find(ReadOnlySpan<KeyValuePair<string, object?>> labels)
    {
        if (_byLabels.TryGetValue(labels, out var known))
        {
            return known;
        }

        if (Interlocked.Increment(ref _count) > _maxSeries)
        {
            Interlocked.Decrement(ref _count);
            _dropped(this);
            return null;
        }

        var added = new MetricSeries(labels.ToArray(), _aggregation, _bounds);
        var there = _series.GetOrAdd(added.Labels, added);
        if (there != added)
        {
            Interlocked.Decrement(ref _count);
        }

        return there;
    }

    private static (MetricType Type, MetricAggregation Aggregation) KindOf(Instrument instrument)
    {
        var type = instrument.GetType();
        var kind = type.IsGenericType ? type.GetGenericTypeDefinition() : null;
        return kind == typeof(Counter<>) ? (MetricType.Counter, MetricAggregation.Sum)
            : kind == typeof(ObservableCounter<>) && !MetricName.IsGaugeInTruth(instrument) ? (MetricType.Counter, MetricAggregation.Last)
            : kind == typeof(UpDownCounter<>) ? (MetricType.Gauge, MetricAggregation.Sum)
            : kind == typeof(Histogram<>) ? (MetricType.Histogram, MetricAggregation.Histogram)
            : (MetricType.Gauge, MetricAggregation.Last);
    }

    private static double[] BoundsOf(Instrument instrument) => instrument switch
    {
        Histogram<double> { Advice.HistogramBucketBoundaries: { } bounds } => [.. bounds],
        Histogram<long> { Advice.HistogramBucketBoundaries: { } bounds } => [.. bounds.Select(bound => (double)bound)],
        Histogram<int> { Advice.HistogramBucketBoundaries: { } bounds } => [.. bounds.Select(bound => (double)bound)],
        _ => DefaultBounds,
    };

    /// <summary>Labels are the same when their names and values are, in the same order.</summary>
    private sealed class LabelComparer :
        IEqualityComparer<KeyValuePair<string, object?>[]>,
        IAlternateEqualityComparer<ReadOnlySpan<KeyValuePair<string, object?>>, KeyValuePair<string, object?>[]>
    {
        public static readonly LabelComparer Instance = new();

        public bool Equals(KeyValuePair<string, object?>[]? x, KeyValuePair<string, object?>[]? y) => x is not null && y is not null && Equals(x.AsSpan(), y);

        public bool Equals(ReadOnlySpan<KeyValuePair<string, object?>> alternate, KeyValuePair<string, object?>[] other)
        {
            if (alternate.Length != other.Length)
            {
                return false;
            }

            for (var i = 0; i < other.Length; i++)
            {
                if (alternate[i].Key != other[i].Key || !Equals(alternate[i].Value, other[i].Value))
                {
                    return false;
                }
            }

            return true;
        }

        public int GetHashCode(KeyValuePair<string, object?>[] obj) => GetHashCode(obj.AsSpan());

        // The names are the same for all series of a family, or nearly.
        public int GetHashCode(ReadOnlySpan<KeyValuePair<string, object?>> alternate)
        {
            var hash = default(HashCode);
            foreach (var (_, value) in alternate)
            {
                hash.Add(value);
            }

            return hash.ToHashCode();
        }

        public KeyValuePair<string, object?>[] Create(ReadOnlySpan<KeyValuePair<string, object?>> alternate) => alternate.ToArray();
    }
}
