using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Connections;

/// <summary>Knows the open connections of one proxy: evaluates inbound ones again when policy changes, and ends all when the proxy must (ztunnel §9.4, §14).</summary>
internal sealed class ConnectionTracker : IDisposable
{
    private readonly Lock _gate = new();
    private readonly HashSet<TrackedConnection> _open = [];
    private readonly MeshState _state;
    private TaskCompletionSource? _empty;

    public ConnectionTracker(MeshState state)
    {
        _state = state;
        _state.Changed += OnChanged;
    }

    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _open.Count;
            }
        }
    }

    /// <summary>Begins to track a connection, from the moment it is accepted.</summary>
    public TrackedConnection Track(ConnectionDirection direction)
    {
        var tracked = new TrackedConnection(this, direction);
        lock (_gate)
        {
            _open.Add(tracked);
        }

        return tracked;
    }

    /// <summary>Completes when no connection is open.</summary>
    public Task WhenEmptyAsync()
    {
        lock (_gate)
        {
            if (_open.Count == 0)
            {
                return Task.CompletedTask;
            }

            _empty ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _empty.Task;
        }
    }

    /// <summary>Ends every open connection.</summary>
    public void CloseAll(string reason)
    {
        foreach (var connection in Open())
        {
            connection.Close(new CloseReason(reason, ResponseFlag.Connect));
        }
    }

    public void Dispose() => _state.Changed -= OnChanged;

    internal void Remove(TrackedConnection connection)
    {
        lock (_gate)
        {
            _open.Remove(connection);
            if (_open.Count == 0)
            {
                _empty?.TrySetResult();
                _empty = null;
            }
        }
    }

    /// <summary>The connections that are open now.</summary>
    public TrackedConnection[] Open()
    {
        lock (_gate)
        {
            return [.. _open];
        }
    }

    // The publisher must not wait for us; the order of two changes does not matter, for each evaluates by the newest state.
    private void OnChanged(object? sender, MeshChange change)
    {
        if (change.PoliciesChanged)
        {
            _ = Task.Run(() => Reevaluate(change));
        }
    }

    private void Reevaluate(MeshChange change)
    {
        var policies = _state.Current.Policies;
        foreach (var connection in Open())
        {
            connection.Reevaluate(change, policies);
        }
    }
}

/// <summary>Why a connection is closed before its ends want it to.</summary>
/// <param name="Text">In words.</param>
/// <param name="Flag">What telemetry is to say.</param>
/// <param name="Denial">The decision, when policy denies it now; otherwise null.</param>
internal sealed record CloseReason(string Text, ResponseFlag Flag, L4Decision.Denied? Denial = null);

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
    public void ApplyPolicy(Workload destination, L4Connection connection) =>

        // With a barrier: the state must not be read before this is seen.
        Interlocked.Exchange(ref _input, new PolicyInput(destination, connection));

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
