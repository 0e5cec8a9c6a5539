using System.Collections.Immutable;

namespace Mesh.Core.Workloads;

/// <summary>A choice that was made among the endpoints of a service.</summary>
public sealed record EndpointChoice
{
    private readonly Func<ImmutableArray<EndpointVerdict>> _explain;

    internal EndpointChoice(Service service, int port, Func<ImmutableArray<EndpointVerdict>> explain)
    {
        Service = service;
        Port = port;
        _explain = explain;
    }

    /// <summary>The service: the one that was addressed, or that of a waypoint or gateway.</summary>
    public Service Service { get; }

    /// <summary>The service port.</summary>
    public int Port { get; }

    /// <summary>What became of each endpoint, those that could be chosen first. Worked out anew each time it is asked for.</summary>
    public ImmutableArray<EndpointVerdict> Endpoints => _explain();

    /// <inheritdoc/>
    public bool Equals(EndpointChoice? other) => other is not null && Service == other.Service && Port == other.Port;

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Service, Port);
}
