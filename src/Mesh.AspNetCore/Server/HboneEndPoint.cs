using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Mesh.AspNetCore.Server;

/// <summary>An address where Kestrel takes HBONE. Not an <see cref="IPEndPoint"/>, so that no other transport can take it for one of its own and listen there in plain text.</summary>
internal sealed class HboneEndPoint(HboneBinding binding, HttpProtocols protocols) : EndPoint
{
    public HboneBinding Binding => binding;

    /// <summary>Which tunnels come out here, by their first octets: HTTP/1.1, or HTTP/2 with prior knowledge.</summary>
    public HttpProtocols Protocols => protocols;

    public override string ToString() => $"hbone://{binding.EndPoint}";
}
