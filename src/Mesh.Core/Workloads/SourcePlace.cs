namespace Mesh.Core.Workloads;

/// <summary>What routing preferences compare of a source.</summary>
internal sealed record SourcePlace(string Network, Locality Locality, string Node, string ClusterId)
{
    public static SourcePlace Of(Workload source) => new(source.Network, source.Locality, source.Node, source.ClusterId);
}
