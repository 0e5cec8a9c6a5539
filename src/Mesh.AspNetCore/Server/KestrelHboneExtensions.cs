using System.Net;
using Mesh.AspNetCore.Server;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>HBONE endpoints of Kestrel.</summary>
public static class KestrelHboneExtensions
{
    /// <summary>Takes HBONE at an address; what comes through the tunnels is HTTP/1.1, or HTTP/2 with prior knowledge, by its first octets.</summary>
    /// <remarks>
    /// The peer's identity is in <see cref="IHboneTunnelFeature"/> and in <c>HttpContext.User</c>. Needs <c>services.AddMesh</c>. Other endpoints of the
    /// application are not touched: what listens in plain text goes on to.
    /// </remarks>
    /// <param name="kestrel">Kestrel.</param>
    /// <param name="address">The address, usually with port 15008; port 0 lets the system choose.</param>
    /// <param name="configure">More of the endpoint, such as connection middleware; runs once for each of the two versions of HTTP. Its protocols are not to be changed.</param>
    public static void ListenHbone(this KestrelServerOptions kestrel, IPEndPoint address, Action<ListenOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(kestrel);
        ArgumentNullException.ThrowIfNull(address);
        var binding = new HboneBinding(address);
        foreach (var protocols in new[] { HttpProtocols.Http1, HttpProtocols.Http2 })
        {
            kestrel.Listen(new HboneEndPoint(binding, protocols), listen =>
            {
                configure?.Invoke(listen);
                listen.Protocols = protocols;
            });
        }
    }
}
