using System.Runtime.CompilerServices;

namespace Mesh.Core.Workloads;

/// <summary>What decides which endpoints of a service may take a connection, apart from chance.</summary>
/// <param name="Service">The service, as it is.</param>
/// <param name="Port">The service port.</param>
/// <param name="IsWaypoint">Whether a waypoint is looked for, which need not declare its port.</param>
/// <param name="Place">Where the source is.</param>
internal readonly record struct EndpointQuery(Service Service, int Port, bool IsWaypoint, SourcePlace Place)
{
    // The members of a service do not change, and comparing them all would cost more than what is saved.
    public bool Equals(EndpointQuery other) =>
        ReferenceEquals(Service, other.Service) && Port == other.Port && IsWaypoint == other.IsWaypoint && Place == other.Place;

    public override int GetHashCode() => HashCode.Combine(RuntimeHelpers.GetHashCode(Service), Port, IsWaypoint, Place);
}
