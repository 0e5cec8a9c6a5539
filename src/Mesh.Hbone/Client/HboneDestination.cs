using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;

namespace Mesh.Hbone.Client;

/// <summary>The other end of an HBONE connection, and who we are to it. Connections are shared only between equal destinations (ztunnel §2.9).</summary>
public sealed class HboneDestination : IEquatable<HboneDestination>
{
    /// <summary>Describes a connection.</summary>
    /// <param name="source">Our identity.</param>
    /// <param name="peers">The identities that the server may have, in order; none accepts nobody.</param>
    /// <param name="endPoint">The server's address, usually with port 15008.</param>
    /// <param name="sourceAddress">Our address; null to let the system choose.</param>
    public HboneDestination(SpiffeId source, ImmutableArray<SpiffeId> peers, IPEndPoint endPoint, IPAddress? sourceAddress = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(endPoint);
        Source = source;
        Peers = peers;
        EndPoint = endPoint;
        SourceAddress = sourceAddress;
    }

    /// <summary>Our identity.</summary>
    public SpiffeId Source { get; }

    /// <summary>The identities that the server may have.</summary>
    public ImmutableArray<SpiffeId> Peers { get; }

    /// <summary>The server's address.</summary>
    public IPEndPoint EndPoint { get; }

    /// <summary>Our address; null to let the system choose.</summary>
    public IPAddress? SourceAddress { get; }

    /// <inheritdoc/>
    public bool Equals(HboneDestination? other) =>
        other is not null && Source == other.Source && EndPoint.Equals(other.EndPoint) && Equals(SourceAddress, other.SourceAddress)
        && Peers.AsSpan().SequenceEqual(other.Peers.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as HboneDestination);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Source, EndPoint, SourceAddress, Peers.Length, Peers.IsEmpty ? null : Peers[0]);

    /// <summary>Who to whom.</summary>
    public override string ToString() => $"{Source} to {EndPoint}";
}
