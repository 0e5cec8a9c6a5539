using System.Threading.Tasks.Sources;

namespace Mesh.Hbone.Http2;

/// <summary>The wait of one application for its stream, to read or to flush; used again and again. Ended outside every lock, since the application may go on right there.</summary>
/// <param name="gate">The lock of its owner.</param>
/// <param name="inlineCompletions">Whether the application goes on where the wait ends, or on the thread pool.</param>
internal sealed class StreamWait<TResult>(Lock gate, bool inlineCompletions) : IValueTaskSource<TResult>
{
    private ManualResetValueTaskSourceCore<TResult> _core = new() { RunContinuationsAsynchronously = !inlineCompletions };

    // Guarded by the lock.
    private CancellationToken _cancellationToken;
    private CancellationTokenRegistration _registration;

    /// <summary>Whether somebody waits. Guarded by the lock.</summary>
    public bool IsActive { get; private set; }

    /// <summary>Begins a wait; <see cref="ResultAsync"/> is to follow outside the lock, with what this returns.</summary>
    public short Begin_NeedsLock(CancellationToken cancellationToken)
    {
        _core.Reset();
        IsActive = true;
        _cancellationToken = cancellationToken;
        return _core.Version;
    }

    /// <summary>The wait, which the cancellation may end from now on.</summary>
    public ValueTask<TResult> ResultAsync(short version, CancellationToken cancellationToken)
    {
        if (cancellationToken.CanBeCanceled)
        {
            Register(version, cancellationToken);
        }

        return new ValueTask<TResult>(this, version);
    }

    /// <summary>Ends the wait; one of the two others is to follow outside the lock, with what this returns.</summary>
    public CancellationTokenRegistration End_NeedsLock()
    {
        IsActive = false;
        var registration = _registration;
        _registration = default;
        return registration;
    }

    /// <summary>Gives the application its result.</summary>
    public void SetResult(CancellationTokenRegistration ended, TResult result)
    {
        ended.Unregister();
        _core.SetResult(result);
    }

    /// <summary>Gives the application a failure.</summary>
    public void SetException(CancellationTokenRegistration ended, Exception failure)
    {
        ended.Unregister();
        _core.SetException(failure);
    }

    public TResult GetResult(short token) => _core.GetResult(token);

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    private void Register(short version, CancellationToken cancellationToken)
    {
        var registration = cancellationToken.UnsafeRegister(static (state, cancelled) => ((StreamWait<TResult>)state!).Cancel(cancelled), this);
        lock (gate)
        {
            if (IsActive && _core.Version == version)
            {
                _registration = registration;
                return;
            }
        }

        // It is over already.
        registration.Unregister();
    }

    private void Cancel(CancellationToken cancellationToken)
    {
        lock (gate)
        {
            // One that is late belongs to a wait that is over.
            if (!IsActive || _cancellationToken != cancellationToken)
            {
                return;
            }

            End_NeedsLock();
        }

        _core.SetException(new OperationCanceledException(cancellationToken));
    }
}
