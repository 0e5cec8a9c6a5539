using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Outbound;

/// <summary>The planner refused a connection.</summary>
internal sealed class RefusedException(Service? service, string why) : IOException(why)
{
    /// <summary>The service that was addressed; null when none was.</summary>
    public Service? Service => service;
}

/// <summary>A limit on connections is reached.</summary>
internal sealed class LimitReachedException(string message) : IOException(message);
