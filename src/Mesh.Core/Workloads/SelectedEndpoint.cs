using System.Net;

namespace Mesh.Core.Workloads;

/// <summary>An endpoint of a service, chosen for one connection.</summary>
/// <param name="Workload">The workload.</param>
/// <param name="Address">The address of the workload to use; null when it has none here.</param>
/// <param name="Port">The port that the application listens on.</param>
public sealed record SelectedEndpoint(Workload Workload, IPAddress? Address, int Port);
