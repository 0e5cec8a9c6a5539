namespace Mesh.Ztunnel.Telemetry;

/// <summary>How the measurements of a series become what is shown.</summary>
internal enum MetricAggregation
{
    /// <summary>They are added up.</summary>
    Sum,

    /// <summary>The last one counts.</summary>
    Last,

    /// <summary>They are counted by size.</summary>
    Histogram,
}

/// <summary>The measurements with one set of labels.</summary>
internal sealed class MetricSeries
{
    private readonly Lock _gate = new();
    private readonly MetricAggregation _aggregation;
    private readonly double[] _bounds;
    private readonly long[] _buckets;

    // Octets need more digits than a double has.
    private long _whole;
    private double _fraction;
    private long _count;
    private bool _isFraction;
    private bool _isRetired;

    public MetricSeries(KeyValuePair<string, object?>[] labels, MetricAggregation aggregation, double[] bounds)
    {
        Labels = labels;
        _aggregation = aggregation;
        _bounds = bounds;
        _buckets = aggregation is MetricAggregation.Histogram ? new long[bounds.Length + 1] : [];
    }

    public KeyValuePair<string, object?>[] Labels { get; }

    /// <summary>When the last measurement came, by the clock's timestamp.</summary>
    public long LastMeasured { get; private set; }

    /// <summary>Takes a measurement. False when the series was dropped: the measurement belongs into a new one.</summary>
    public bool TryRecord(long value, long timestamp)
    {
        if (_aggregation is MetricAggregation.Histogram)
        {
            return TryRecord((double)value, timestamp);
        }

        lock (_gate)
        {
            _whole = _aggregation is MetricAggregation.Sum ? _whole + value : value;
            LastMeasured = timestamp;
            return !_isRetired;
        }
    }

    /// <summary>Takes a measurement. False when the series was dropped: the measurement belongs into a new one.</summary>
    public bool TryRecord(double value, long timestamp)
    {
        lock (_gate)
        {
            LastMeasured = timestamp;
            _isFraction = true;
            _fraction = _aggregation is MetricAggregation.Last ? value : _fraction + value;
            if (_aggregation is MetricAggregation.Histogram)
            {
                var bucket = Array.BinarySearch(_bounds, value);
                _buckets[bucket < 0 ? ~bucket : bucket]++;
                _count++;
            }

            return !_isRetired;
        }
    }

    /// <summary>Drops the series when nothing was measured since a moment. False when something was.</summary>
    public bool TryRetire(long since)
    {
        lock (_gate)
        {
            _isRetired |= LastMeasured <= since;
            return _isRetired;
        }
    }

    public void Write(ExpositionWriter writer, string name, string suffix)
    {
        // Taken together, so that a histogram's count is that of its buckets; written without the lock, which the traffic waits for.
        Span<long> buckets = stackalloc long[_buckets.Length];
        long whole, count;
        double fraction;
        bool isFraction;
        lock (_gate)
        {
            _buckets.CopyTo(buckets);
            (whole, fraction, count, isFraction) = (_whole, _fraction, _count, _isFraction);
        }

        if (_aggregation is not MetricAggregation.Histogram)
        {
            if (isFraction)
            {
                writer.Sample(name, suffix, Labels, whole + fraction);
            }
            else
            {
                writer.Sample(name, suffix, Labels, whole);
            }

            return;
        }

        long below = 0;
        for (var i = 0; i < buckets.Length; i++)
        {
            below += buckets[i];
            writer.Bucket(name, Labels, i < _bounds.Length ? _bounds[i] : double.PositiveInfinity, below);
        }

        writer.Sample(name, "_sum", Labels, fraction);
        writer.Sample(name, "_count", Labels, count);
    }
}
