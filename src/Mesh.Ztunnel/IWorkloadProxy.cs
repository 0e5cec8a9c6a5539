using Mesh.Ztunnel.Connections;

namespace Mesh.Ztunnel;

/// <summary>A running proxy. Disposing it ends everything at once.</summary>
internal interface IWorkloadProxy : IAsyncDisposable
{
    /// <summary>The connections that are open now.</summary>
    TrackedConnection[] Connections { get; }

    /// <summary>Accepts no more, and waits for what is open to end; what is open at the deadline is cut (ztunnel §14).</summary>
    Task StopAsync(CancellationToken deadline);
}
