using Mesh.Hbone.Http2;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone.Server;

/// <summary>Requests that wait for the application. Those of a connection that is gone leave it, so that what waits is bounded by the connections there are. Thread-safe.</summary>
/// <param name="inlineCompletions">Whether who waits goes on on the thread of who adds.</param>
internal sealed class RequestQueue(bool inlineCompletions)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<HboneRequest> _requests = new();
    private TaskCompletionSource _news = new(Continuations(inlineCompletions));
    private bool _completed;

    // On the thread of whoever added a request, that thread's own work has its turn, too.
    private EventLoop.Budget _turn = EventLoop.Budget.OfConnections;

    /// <summary>Adds a request; false when none are taken any more.</summary>
    public bool TryAdd(HboneRequest request)
    {
        TaskCompletionSource news;
        lock (_gate)
        {
            if (_completed)
            {
                return false;
            }

            _requests.AddLast(request);
            news = Renew_NeedsLock();
        }

        news.TrySetResult();
        return true;
    }

    /// <summary>Takes no more requests; those that are there are still handed out.</summary>
    public void Complete()
    {
        TaskCompletionSource news;
        lock (_gate)
        {
            _completed = true;
            news = Renew_NeedsLock();
        }

        news.TrySetResult();
    }

    /// <summary>The next request; null when none will come.</summary>
    public async ValueTask<HboneRequest?> TakeAsync(CancellationToken cancellationToken)
    {
        bool yields;
        lock (_gate)
        {
            yields = _turn.IsUsedUp(1);
        }

        if (yields)
        {
            await EventLoop.YieldAsync();
        }

        while (true)
        {
            Task news;
            lock (_gate)
            {
                if (_requests.First is { Value: var request })
                {
                    _requests.RemoveFirst();
                    return request;
                }

                if (_completed)
                {
                    return null;
                }

                news = _news.Task;
            }

            await news.WaitAsync(cancellationToken);
        }
    }

    /// <summary>Drops the requests of a connection.</summary>
    public void Drop(Http2Connection connection)
    {
        var dropped = new List<HboneRequest>();
        lock (_gate)
        {
            for (var node = _requests.First; node is not null;)
            {
                var next = node.Next;
                if (node.Value.IsOn(connection))
                {
                    _requests.Remove(node);
                    dropped.Add(node.Value);
                }

                node = next;
            }
        }

        dropped.ForEach(request => request.Dispose());
    }

    private TaskCompletionSource Renew_NeedsLock()
    {
        var news = _news;
        _news = new TaskCompletionSource(Continuations(inlineCompletions));
        return news;
    }

    private static TaskCreationOptions Continuations(bool inline) => inline ? TaskCreationOptions.None : TaskCreationOptions.RunContinuationsAsynchronously;
}
