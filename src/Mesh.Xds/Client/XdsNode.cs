using System.Text.Json.Nodes;

namespace Mesh.Xds.Client;

/// <summary>What a client says of itself, in the first request of each type on a stream (ztunnel §5.2).</summary>
/// <param name="Id">The node's ID; Istio's has four parts: <c>ztunnel~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local</c>.</param>
public sealed record XdsNode(string Id)
{
    /// <summary>The node's cluster; empty for none.</summary>
    public string Cluster { get; init; } = "";

    /// <summary>What else the control plane is to know, as JSON. Numbers arrive as doubles.</summary>
    public JsonObject Metadata { get; init; } = [];
}
