using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Connections;

/// <summary>An open connection. Disposing it ends the tracking.</summary>
internal sealed class TrackedConnection(ConnectionTracker tracker, ConnectionDirection direction) : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private ConnectionRecord? _record;
    private PolicyInput? _input;
    private CloseReason? _closeReason;

    /// <summary>Which side it is.</summary>
    public ConnectionDirection Direction => direction;

    /// <summary>What is known of it so far; null before anything is.</summary>
    public ConnectionRecord? Record => Volatile.Read(ref _record);

    /// <summary>Cancelled when the connection must end before its ends want it to.</summary>
    public CancellationToken Closed => _closed.Token;

    /// <summary>Why it must end; null while it need not.</summary>
    public CloseReason? CloseReason => Volatile.Read(ref _closeReason);

    /// <summary>Says where what is known of it is kept.</summary>
    public void Describe(ConnectionRecord record) => Volatile.Write(ref _record, record);

    /// <summary>Says what policy is to judge by from now on, at every change. Call it before the first decision, so that no change in between is missed.</summary>
    /// <param name="destination">The workload as it is now; what it lists later does not matter (ztunnel §9.4).</param>
    /// <param name="connection">The connection as policy sees it.</param>
    public void ApplyPolicy(Workload destination, L4Connection connection)
    {
        // With a barrier: the state must not be read before this is seen.
        Interlocked.Exchange(ref _input, new PolicyInput(destination, connection));
    }

    /// <summary>Closes the connection when these policies deny it. A change that does not concern it is passed over.</summary>
    public void Reevaluate(MeshChange change, L4PolicySet policies)
    {
        if (Volatile.Read(ref _input) is not { } input || change.After.Policies.AppliesAlike(change.Before.Policies, input.Destination))
        {
            return;
        }

        if (L4Authorizer.Authorize(policies, input.Destination, input.Connection) is L4Decision.Denied denied)
        {
            Close(new CloseReason($"connection closed due to policy change: {denied.Reason}", ResponseFlag.Deny, denied));
        }
    }

    public void Close(CloseReason reason)
    {
        if (Interlocked.CompareExchange(ref _closeReason, reason, null) is null)
        {
            // Not on this thread: what hangs on the token must not keep the next connection from being closed.
            _ = _closed.CancelAsync();
        }
    }

    // The source is not disposed: Close may run beside this, and it holds no timer.
    public void Dispose() => tracker.Remove(this);

    private sealed record PolicyInput(Workload Destination, L4Connection Connection);
}
