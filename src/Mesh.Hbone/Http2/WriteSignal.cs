using System.Threading.Tasks.Sources;

namespace Mesh.Hbone.Http2;

/// <summary>Wakes the connection's writer, again and again, on the thread of whoever has something to send, without an allocation.</summary>
/// <remarks>One waiter; between two <see cref="Set"/> there is a <see cref="Reset"/>.</remarks>
internal sealed class WriteSignal : IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _core;

    public ValueTask WaitAsync() => new(this, _core.Version);

    /// <summary>The waiter goes on right here.</summary>
    public void Set() => _core.SetResult(true);

    public void Reset() => _core.Reset();

    public void GetResult(short token) => _core.GetResult(token);

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);
}
