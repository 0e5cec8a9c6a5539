using System.Net;

namespace Mesh.AspNetCore.ControlPlanes;

/// <summary>Settings of <see cref="ControlPlaneServer"/>.</summary>
public sealed class ControlPlaneServerOptions
{
    /// <summary>Where it listens. Default port 15012 of the loopback address.</summary>
    public IPEndPoint ListenEndPoint { get; init; } = new(IPAddress.Loopback, 15012);

    /// <summary>The DNS names and IP addresses that its certificate has; clients must call it by one of them. Default <c>localhost</c> and <c>127.0.0.1</c>.</summary>
    public IReadOnlyList<string> Names { get; init; } = ["localhost", "127.0.0.1"];
}
