namespace Mesh.Ztunnel.Dns;

/// <summary>Counts what is under way, up to a bound.</summary>
internal sealed class Quota(int max)
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _empty;
    private int _count;

    /// <summary>Begins one; false when there are as many as there may be.</summary>
    public bool TryEnter()
    {
        lock (_gate)
        {
            if (_count == max)
            {
                return false;
            }

            _count++;
            return true;
        }
    }

    /// <summary>Ends one.</summary>
    public void Exit()
    {
        lock (_gate)
        {
            _count--;
            if (_count == 0)
            {
                _empty?.TrySetResult();
                _empty = null;
            }
        }
    }

    /// <summary>Completes when nothing is under way.</summary>
    public Task WhenEmptyAsync()
    {
        lock (_gate)
        {
            if (_count == 0)
            {
                return Task.CompletedTask;
            }

            _empty ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _empty.Task;
        }
    }
}
