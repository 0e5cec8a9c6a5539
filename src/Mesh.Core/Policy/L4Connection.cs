using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;

namespace Mesh.Core.Policy;

/// <summary>What L4 policy knows of a connection.</summary>
public readonly record struct L4Connection
{
    /// <summary>Describes a connection.</summary>
    /// <param name="source">The address of the client.</param>
    /// <param name="sourceIdentity">The identity that the client proved; null for plain text.</param>
    /// <param name="destination">The address and port of the application, after any translation.</param>
    public L4Connection(IPAddress source, SpiffeId? sourceIdentity, IPEndPoint destination)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        Source = NetworkAddress.Canonical(source);
        SourceIdentity = sourceIdentity;
        Destination = NetworkAddress.Canonical(destination);
    }

    /// <summary>The address of the client.</summary>
    public IPAddress Source { get; }

    /// <summary>The identity that the client proved; null for plain text.</summary>
    public SpiffeId? SourceIdentity { get; }

    /// <summary>The address and port of the application.</summary>
    public IPEndPoint Destination { get; }

    /// <summary>The connection in words.</summary>
    public override string ToString() => $"{SourceIdentity?.ToString() ?? "no identity"} from {Source} to {Destination}";
}
