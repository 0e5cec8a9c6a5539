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

    /// <summary>Ends every open connection, for the proxy ends (ztunnel §10.3).</summary>
    public void CloseAll()
    {
        foreach (var connection in Open())
        {
            connection.Close(new CloseReason("connection closed due to connection drain", ResponseFlag.Connect));
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
