using System.Threading.Tasks.Sources;

namespace Mesh.Hbone.Transport;

/// <summary>Whether a socket may be ready to be read, or to be written, and the wait for it; used again and again without an allocation. One waiter at a time.</summary>
/// <remarks>Who uses the socket clears it before each try that may find nothing: a change that comes after the try is not lost then.</remarks>
internal sealed class Readiness : IValueTaskSource<int>
{
    private const int No = 0;
    private const int Yes = 1;
    private const int Waiting = 2;

    private ManualResetValueTaskSourceCore<int> _core;
    private CancellationTokenRegistration _cancellation;
    private CancellationToken _cancellationToken;
    private int _state = Yes;

    public bool IsSet => Volatile.Read(ref _state) == Yes;

    public void Clear() => Interlocked.Exchange(ref _state, No);

    /// <summary>Whoever waits goes on right here.</summary>
    public void Set()
    {
        if (Interlocked.Exchange(ref _state, Yes) == Waiting)
        {
            _core.SetResult(0);
        }
    }

    /// <summary>Waits until it is set. The result says nothing.</summary>
    public ValueTask<int> WaitAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (IsSet)
        {
            return new ValueTask<int>(0);
        }

        _core.Reset();
        var version = _core.Version;
        if (Interlocked.CompareExchange(ref _state, Waiting, No) != No)
        {
            return new ValueTask<int>(0);
        }

        if (cancellationToken.CanBeCanceled)
        {
            _cancellationToken = cancellationToken;
            _cancellation = cancellationToken.UnsafeRegister(static state => ((Readiness)state!).Cancel(), this);
        }

        return new ValueTask<int>(this, version);
    }

    int IValueTaskSource<int>.GetResult(short token)
    {
        // After it no late cancellation meets the next wait.
        _cancellation.Dispose();
        _cancellation = default;
        return _core.GetResult(token);
    }

    ValueTaskSourceStatus IValueTaskSource<int>.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource<int>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    private void Cancel()
    {
        if (Interlocked.CompareExchange(ref _state, No, Waiting) == Waiting)
        {
            _core.SetException(new OperationCanceledException(_cancellationToken));
        }
    }
}
