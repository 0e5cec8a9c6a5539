using Mesh.Core.Identity;
using Mesh.Hbone;

namespace Mesh.AspNetCore.Server;

/// <summary>The tunnel that a request came through; a feature of the connection and of its requests.</summary>
public interface IHboneTunnelFeature
{
    /// <summary>The identity that the peer has proved: of the client, or of the waypoint that speaks for it.</summary>
    SpiffeId PeerIdentity { get; }

    /// <summary>The target that the peer named: <c>address:port</c> or <c>host:port</c>.</summary>
    string Authority { get; }

    /// <summary>The headers of the CONNECT request.</summary>
    HboneHeaders Headers { get; }
}
