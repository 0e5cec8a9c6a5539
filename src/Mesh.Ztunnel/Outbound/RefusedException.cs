using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Outbound;

/// <summary>The planner refused a connection.</summary>
/// <param name="plan">What it said.</param>
internal sealed class RefusedException(OutboundPlan.Refused plan) : IOException(plan.Why)
{
    /// <summary>Whether the proxy was to call itself.</summary>
    public bool IsRecursive => plan.IsRecursive;
}
