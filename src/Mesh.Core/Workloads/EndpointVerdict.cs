namespace Mesh.Core.Workloads;

/// <summary>What became of one endpoint in a choice.</summary>
/// <param name="Workload">The endpoint.</param>
/// <param name="FellOut">Why it could not be chosen; null when it could.</param>
public sealed record EndpointVerdict(Workload Workload, string? FellOut);
