using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>All of a connection that its labels are made of, but for how it failed. Records of the mesh are the same when they are the same object.</summary>
internal readonly struct ConnectionEnds(ConnectionRecord record) : IEquatable<ConnectionEnds>
{
    public ConnectionDirection Direction { get; } = record.Direction;

    public bool WasOpened { get; } = record.WasOpened;

    public bool IsTunnelled { get; } = record.HboneAddress is not null;

    public Workload? SourceWorkload { get; } = record.SourceWorkload;

    public SpiffeId? SourceIdentity { get; } = record.SourceIdentity;

    public Baggage? SourceBaggage { get; } = record.SourceBaggage;

    public Workload? DestinationWorkload { get; } = record.DestinationWorkload;

    public SpiffeId? DestinationIdentity { get; } = record.DestinationIdentity;

    public Baggage? DestinationBaggage { get; } = record.DestinationBaggage;

    public Service? Service { get; } = record.DestinationService;

    public bool Equals(ConnectionEnds other) =>
        Direction == other.Direction
        && WasOpened == other.WasOpened
        && IsTunnelled == other.IsTunnelled
        && ReferenceEquals(SourceWorkload, other.SourceWorkload)
        && SourceIdentity == other.SourceIdentity
        && SourceBaggage == other.SourceBaggage
        && ReferenceEquals(DestinationWorkload, other.DestinationWorkload)
        && DestinationIdentity == other.DestinationIdentity
        && DestinationBaggage == other.DestinationBaggage
        && ReferenceEquals(Service, other.Service);

    public override bool Equals(object? obj) => obj is ConnectionEnds other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(
        Direction, SourceWorkload?.Uid, SourceIdentity, SourceBaggage?.WorkloadName, DestinationWorkload?.Uid, DestinationIdentity, DestinationBaggage?.WorkloadName, Service?.Hostname);
}
