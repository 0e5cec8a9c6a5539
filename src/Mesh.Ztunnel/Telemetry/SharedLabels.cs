using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>The labels of connections between the same ends, made once: most connections are like one before them. Thread-safe.</summary>
internal sealed class SharedLabels
{
    // Who is not here is worked out again. A power of two.
    private const int Size = 256;

    private readonly Entry?[] _entries = new Entry?[Size];

    /// <summary>The labels of a connection that has not failed.</summary>
    public KeyValuePair<string, object?>[] Of(ConnectionRecord record)
    {
        var ends = new Ends(record);
        ref var place = ref _entries[ends.GetHashCode() & (Size - 1)];
        if (Volatile.Read(ref place) is not { } entry || !entry.Ends.Equals(ends))
        {
            entry = new Entry(ends, ZtunnelMetrics.Labels(record, ResponseFlag.None));
            Volatile.Write(ref place, entry);
        }

        return entry.Labels;
    }

    private sealed record Entry(Ends Ends, KeyValuePair<string, object?>[] Labels);

    /// <summary>All that labels are made of. Records of the mesh are the same when they are the same object.</summary>
    private readonly struct Ends(ConnectionRecord record) : IEquatable<Ends>
    {
        private readonly ConnectionDirection _direction = record.Direction;
        private readonly bool _wasOpened = record.WasOpened;
        private readonly bool _isTunnelled = record.HboneAddress is not null;
        private readonly Workload? _source = record.SourceWorkload;
        private readonly Workload? _destination = record.DestinationWorkload;
        private readonly Service? _service = record.DestinationService;
        private readonly SpiffeId? _sourceIdentity = record.SourceIdentity;
        private readonly SpiffeId? _destinationIdentity = record.DestinationIdentity;
        private readonly Baggage? _sourceBaggage = record.SourceBaggage;
        private readonly Baggage? _destinationBaggage = record.DestinationBaggage;

        public bool Equals(Ends other) =>
            _direction == other._direction
            && _wasOpened == other._wasOpened
            && _isTunnelled == other._isTunnelled
            && ReferenceEquals(_source, other._source)
            && ReferenceEquals(_destination, other._destination)
            && ReferenceEquals(_service, other._service)
            && _sourceIdentity == other._sourceIdentity
            && _destinationIdentity == other._destinationIdentity
            && _sourceBaggage == other._sourceBaggage
            && _destinationBaggage == other._destinationBaggage;

        public override bool Equals(object? obj) => obj is Ends other && Equals(other);

        public override int GetHashCode() => HashCode.Combine(
            _direction, _source?.Uid, _sourceIdentity, _sourceBaggage?.WorkloadName, _destination?.Uid, _destinationIdentity, _destinationBaggage?.WorkloadName, _service?.Hostname);
    }
}
