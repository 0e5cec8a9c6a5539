namespace Mesh.Core.Workloads;

/// <summary>The key of a service: a host name within a namespace (ztunnel §6.1).</summary>
/// <param name="Namespace">The Kubernetes namespace.</param>
/// <param name="Hostname">The full host name.</param>
public readonly record struct NamespacedHostname(string Namespace, string Hostname)
{
    /// <summary><c>namespace/hostname</c>, as configuration writes it.</summary>
    public override string ToString() => $"{Namespace}/{Hostname}";
}
