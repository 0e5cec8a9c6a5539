using System.Collections.Immutable;
using Mesh.Core.Identity;

namespace Mesh.Xds.Server;

/// <summary>Who calls a control plane, as far as it has proved.</summary>
/// <param name="Name">What it is called in log lines.</param>
/// <param name="Node">The node that it acts for, with all workloads that run there; null for none.</param>
/// <param name="Identities">The identities that it may have besides those of its node's workloads.</param>
public sealed record ControlPlaneClient(string Name, string? Node, ImmutableArray<SpiffeId> Identities);

/// <summary>Tells who calls a control plane.</summary>
public interface IClientAuthenticator
{
    /// <summary>Who it is; null when it has not proved to be anybody known.</summary>
    ControlPlaneClient? Authenticate(ControlPlaneCall call);
}
