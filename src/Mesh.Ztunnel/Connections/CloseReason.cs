using Mesh.Core.Policy;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Connections;

/// <summary>Why a connection is closed before its ends want it to.</summary>
/// <param name="Text">In words.</param>
/// <param name="Flag">What telemetry is to say.</param>
/// <param name="Denial">The decision, when policy denies it now; otherwise null.</param>
internal sealed record CloseReason(string Text, ResponseFlag Flag, L4Decision.Denied? Denial = null);
