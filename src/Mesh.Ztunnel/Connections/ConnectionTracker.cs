using Mesh.Core.Policy;
using Mesh.Core.Workloads;

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
    public TrackedConnection Track()
    {
        var tracked = new TrackedConnection(this);
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
            connection.Close(reason);
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

    private TrackedConnection[] Open()
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
            _ = Task.Run(ReevaluateAll);
        }
    }

    private void ReevaluateAll()
    {
        var policies = _state.Current.Policies;
        foreach (var connection in Open())
        {
            connection.Reevaluate(policies);
        }
    }
}

/// <summary>Why a connection is closed before its ends want it to.</summary>
/// <param name="Text">In words.</param>
/// <param name="Denial">The decision, when policy denies it now; otherwise null.</param>
internal sealed record CloseReason(string Text, L4Decision.Denied? Denial);

/// <summary>An open connection. Disposing it ends the tracking.</summary>
internal sealed class TrackedConnection(ConnectionTracker tracker) : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private PolicyInput? _input;
    private CloseReason? _closeReason;

    /// <summary>Cancelled when the connection must end before its ends want it to.</summary>
    public CancellationToken Closed => _closed.Token;

    /// <summary>Why it must end; null while it need not.</summary>
    public CloseReason? CloseReason => Volatile.Read(ref _closeReason);

    /// <summary>Says what policy is to judge by from now on, at every change. Call it before the first decision, so that no change in between is missed.</summary>
    /// <param name="destination">The workload as it is now; what it lists later does not matter (ztunnel §9.4).</param>
    /// <param name="connection">The connection as policy sees it.</param>
    public void ApplyPolicy(Workload destination, L4Connection connection) => Volatile.Write(ref _input, new PolicyInput(destination, connection));

    /// <summary>Closes the connection when these policies deny it.</summary>
    public void Reevaluate(L4PolicySet policies)
    {
        if (Volatile.Read(ref _input) is { } input && L4Authorizer.Authorize(policies, input.Destination, input.Connection) is L4Decision.Denied denied)
        {
            Close($"connection closed due to policy change: {denied.Reason}", denied);
        }
    }

    public void Close(string reason, L4Decision.Denied? denial = null)
    {
        if (Interlocked.CompareExchange(ref _closeReason, new CloseReason(reason, denial), null) is null)
        {
            // Not on this thread: what hangs on the token must not keep the next connection from being closed.
            _ = _closed.CancelAsync();
        }
    }

    // The source is not disposed: Close may run beside this, and it holds no timer.
    public void Dispose() => tracker.Remove(this);

    private sealed record PolicyInput(Workload Destination, L4Connection Connection);
}
