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
        Peers = peers.IsDefault ? [] : peers;
        EndPoint = endPoint;
        SourceAddress = sourceAddress;
    }

    /// <summary>Describes a connection inside a tunnel: double HBONE, by which another network is reached through its gateway (ztunnel §2.10).</summary>
    /// <param name="gateway">The gateway, and who we are to it; the connection inside presents the same identity.</param>
    /// <param name="authority">The target that the gateway is asked for: <c>host:port</c>. Who is behind it, it decides for each connection.</param>
    /// <param name="peers">The identities that the server behind the gateway may have, in order; none accepts nobody.</param>
    /// <exception cref="ArgumentException">The gateway is itself behind a gateway.</exception>
    public HboneDestination(HboneDestination gateway, string authority, ImmutableArray<SpiffeId> peers)
    {
        ArgumentNullException.ThrowIfNull(gateway);
        HboneConnection.CheckAuthority(authority);
        if (gateway.Gateway is not null)
        {
            throw new ArgumentException("the gateway is itself behind a gateway; one is allowed", nameof(gateway));
        }

        Source = gateway.Source;
        Peers = peers.IsDefault ? [] : peers;
        EndPoint = gateway.EndPoint;
        SourceAddress = gateway.SourceAddress;
        Gateway = gateway;
        GatewayAuthority = authority;
    }

    /// <summary>Our identity.</summary>
    public SpiffeId Source { get; }

    /// <summary>The identities that the server may have.</summary>
    public ImmutableArray<SpiffeId> Peers { get; }

    /// <summary>The server's address.</summary>
    public IPEndPoint EndPoint { get; }

    /// <summary>Our address; null to let the system choose.</summary>
    public IPAddress? SourceAddress { get; }

    /// <summary>The gateway that the connection goes through; null when it goes straight to the server.</summary>
    public HboneDestination? Gateway { get; }

    /// <summary>The target that the gateway is asked for; null without a gateway.</summary>
    public string? GatewayAuthority { get; }

    /// <summary>How many servers there are behind a gateway, as far as is known: tunnels spread over as many connections, so that they spread over the servers. At least 1; default 1. Not part of what makes destinations equal.</summary>
    public int Capacity
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            field = value;
        }
    } = 1;

    /// <inheritdoc/>
    public bool Equals(HboneDestination? other) =>
        other is not null && GatewayAuthority == other.GatewayAuthority && Equals(Gateway, other.Gateway) && Source == other.Source && EndPoint.Equals(other.EndPoint) && Equals(SourceAddress, other.SourceAddress)
        && Peers.AsSpan().SequenceEqual(other.Peers.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as HboneDestination);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Source, EndPoint, SourceAddress, Peers.Length, Peers.IsEmpty ? null : Peers[0], GatewayAuthority);

    /// <summary>Who to whom.</summary>
    public override string ToString() => Gateway is null ? $"{Source} to {EndPoint}" : $"{Source} to {GatewayAuthority} through {EndPoint}";
}
