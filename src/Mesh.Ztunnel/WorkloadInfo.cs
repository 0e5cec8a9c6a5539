using System.Net;

namespace Mesh.Ztunnel;

/// <summary>A workload that the ztunnel acts for. It is known by what its node knows of it; the rest comes from the mesh's state.</summary>
/// <param name="Namespace">The Kubernetes namespace.</param>
/// <param name="Name">The pod's name.</param>
/// <param name="ServiceAccount">The Kubernetes service account.</param>
public sealed record WorkloadInfo(string Namespace, string Name, string ServiceAccount)
{
    /// <summary>Where this workload's proxy listens; null for <see cref="ZtunnelOptions.ListenAddress"/>.</summary>
    public IPAddress? ListenAddress { get; init; }

    /// <summary>Whether this is the ztunnel itself, whose own port of metrics clients reach through the mesh (ztunnel §0).</summary>
    internal bool IsOurselves { get; init; }

    /// <summary><c>namespace/name/serviceAccount</c>.</summary>
    public override string ToString() => $"{Namespace}/{Name}/{ServiceAccount}";
}
