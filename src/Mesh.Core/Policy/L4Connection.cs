using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;

namespace Mesh.Core.Policy;

/// <summary>What L4 policy knows of a connection.</summary>
public readonly record struct L4Connection
{
    private readonly ImmutableArray<SpiffeId> _sourceAliases;

    /// <summary>Describes a connection.</summary>
    /// <param name="source">The address of the client.</param>
    /// <param name="sourceIdentity">The identity that the client proved; null for plain text.</param>
    /// <param name="destination">The address and port of the application, after any translation.</param>
    /// <param name="sourceAliases">Other names of the client's identity, by which policies may mean it too (<see cref="TrustDomainAliases.OtherNamesOf"/>).</param>
    public L4Connection(IPAddress source, SpiffeId? sourceIdentity, IPEndPoint destination, params ImmutableArray<SpiffeId> sourceAliases)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        Source = NetworkAddress.Canonical(source);
        SourceIdentity = sourceIdentity;
        Destination = NetworkAddress.Canonical(destination);
        _sourceAliases = sourceAliases;
    }

    /// <summary>The address of the client.</summary>
    public IPAddress Source { get; }

    /// <summary>The identity that the client proved; null for plain text.</summary>
    public SpiffeId? SourceIdentity { get; }

    /// <summary>The address and port of the application.</summary>
    public IPEndPoint Destination { get; }

    /// <summary>Other names of the client's identity, by which policies may mean it too; most often none.</summary>
    public ImmutableArray<SpiffeId> SourceAliases => _sourceAliases.IsDefault ? [] : _sourceAliases;

    /// <summary>Whether two connections are the same in all that policy knows of them.</summary>
    public bool Equals(L4Connection other) =>
        Equals(Source, other.Source) && SourceIdentity == other.SourceIdentity && Equals(Destination, other.Destination) && SourceAliases.SequenceEqual(other.SourceAliases);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Source, SourceIdentity, Destination);

    /// <summary>The connection in words.</summary>
    public override string ToString() => $"{SourceIdentity?.ToString() ?? "no identity"} from {Source} to {Destination}";
}
