using Mesh.Core.Policy;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Connections;

/// <summary>Knows the open connections of one proxy: judges inbound ones anew when policy changes, and ends all when the proxy must (ztunnel §9.4, §14).</summary>
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

    /// <summary>Begins to track a connection. An inbound one is tracked before it is judged, so that a change of policy in between is not missed.</summary>
    /// <param name="destination">The workload that policy is judged for; null when it is not to be judged again.</param>
    /// <param name="connection">The connection as policy sees it.</param>
    public TrackedConnection Track(Workload? destination = null, L4Connection connection = default)
    {
        var tracked = new TrackedConnection(this, destination, connection);
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

    // The publisher must not wait for us; the order of two changes does not matter, for each judges by the newest state.
    private void OnChanged(object? sender, MeshChange change)
    {
        if (change.PoliciesChanged)
        {
            _ = Task.Run(JudgeAll);
        }
    }

    private void JudgeAll()
    {
        var policies = _state.Current.Policies;
        foreach (var connection in Open())
        {
            // The workload as it was when the connection began: what it lists later does not matter (ztunnel §9.4).
            if (connection.Destination is { } destination && L4Authorizer.Authorize(policies, destination, connection.Connection) is L4Decision.Denied denied)
            {
                connection.Close($"connection closed due to policy change: {denied.Reason}", denied);
            }
        }
    }
}

/// <summary>An open connection. Disposing it ends the tracking.</summary>
internal sealed class TrackedConnection(ConnectionTracker tracker, Workload? destination, L4Connection connection) : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private string? _closeReason;

    public Workload? Destination => destination;

    public L4Connection Connection => connection;

    /// <summary>Cancelled when the connection must end before its ends want it to.</summary>
    public CancellationToken Closed => _closed.Token;

    /// <summary>Why it must end; null while it need not.</summary>
    public string? CloseReason => Volatile.Read(ref _closeReason);

    /// <summary>The decision that ended it; null when it was something else.</summary>
    public L4Decision.Denied? Denial { get; private set; }

    public void Close(string reason, L4Decision.Denied? denial = null)
    {
        if (Interlocked.CompareExchange(ref _closeReason, reason, null) is null)
        {
            Denial = denial;
            _closed.Cancel();
        }
    }

    // The source is not disposed: Close may run beside this, and it holds no timer.
    public void Dispose() => tracker.Remove(this);
}
