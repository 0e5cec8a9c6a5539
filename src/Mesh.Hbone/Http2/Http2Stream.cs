using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>One stream of a connection (RFC 9113, section 5.1): what comes in, what goes out, and the state that the connection keeps of it.</summary>
/// <remarks>The state belongs to the connection and is touched under its lock only.</remarks>
internal sealed class Http2Stream
{
    private readonly Lock _resetGate = new();

    // Guarded by _resetGate.
    private TaskCompletionSource? _reset;
    private CancellationTokenSource? _cancelledByReset;
    private bool _isReset;

    public Http2Stream(Http2Connection connection, int id, HboneOptions options)
    {
        Connection = connection;
        Id = id;
        ReceiveWindow = new FlowWindow(options.StreamWindowSize);
        Response = new(options.InlineCompletions ? TaskCreationOptions.None : TaskCreationOptions.RunContinuationsAsynchronously);
        Input = new StreamInput(this, options.InlineCompletions);
        Output = new StreamOutput(this, options.InlineCompletions);
    }

    public Http2Connection Connection { get; }

    /// <summary>Zero on a client until its HEADERS are written: identifiers must rise in the order of sending.</summary>
    public int Id { get; set; }

    /// <summary>What the application reads.</summary>
    public StreamInput Input { get; }

    /// <summary>What the application writes. Completing it sends END_STREAM.</summary>
    public StreamOutput Output { get; }

    /// <summary>The request, on a server, until whoever answers it takes it over; null on a client.</summary>
    public List<HeaderField>? RequestHeaders { get; set; }

    /// <summary>The response, on a client: what stands before the first DATA, 1xx responses passed over.</summary>
    public TaskCompletionSource<List<HeaderField>> Response { get; }

    // Guarded by the connection's lock from here on.
    public FlowWindow SendWindow;
    public FlowWindow ReceiveWindow;

    public IReadOnlyList<HeaderField>? PendingHeaders { get; set; }

    public bool EndWithHeaders { get; set; }

    public Http2ErrorCode? PendingReset { get; set; }

    /// <summary>What the peer did wrong, when that is why we reset; null when we gave up.</summary>
    public HboneException? ResetReason { get; set; }

    /// <summary>Octets that the application has read and the peer has not been told of.</summary>
    public int PendingCredit { get; set; }

    /// <summary>In the connection's queue of streams with something to send.</summary>
    public bool Queued { get; set; }

    /// <summary>We have sent END_STREAM or RST_STREAM, or received RST_STREAM.</summary>
    public bool LocalClosed { get; set; }

    /// <summary>We have received END_STREAM or RST_STREAM, or sent RST_STREAM.</summary>
    public bool RemoteClosed { get; set; }

    /// <summary>The application reads no more.</summary>
    public bool InputReleased { get; set; }

    /// <summary>The application writes no more.</summary>
    public bool OutputReleased { get; set; }

    /// <summary>Counts against the limit of concurrent streams.</summary>
    public bool Counted { get; set; }

    /// <summary>Our headers were sent: on a server, the answer.</summary>
    public bool Answered { get; set; }

    /// <summary>Response headers were seen; what follows are trailers.</summary>
    public bool ResponseSeen { get; set; }

    /// <summary>Octets delivered that the application has not read.</summary>
    public int Unread { get; set; }

    /// <summary>Its place in the queue of streams that wait for the window of the connection; null when it does not.</summary>
    public LinkedListNode<Http2Stream>? BlockedByConnection { get; set; }

    /// <summary>When something was last sent, or the application closed it; a timestamp.</summary>
    public long LastSent { get; set; }

    // Touched by the connection's reader only.
    public bool InboundTouched { get; set; }

    /// <summary>Fails whoever waits for the response or reads.</summary>
    public void FailInbound(HboneException failure)
    {
        FailResponse(failure);
        Input.End(failure);
    }

    /// <summary>Fails whoever waits for the response; on another thread, for locks may be held here.</summary>
    public void FailResponse(HboneException failure)
    {
        if (!Response.Task.IsCompleted)
        {
            ThreadPool.UnsafeQueueUserWorkItem(
                static failed =>
                {
                    failed.Response.TrySetException(failed.Failure);
                    _ = failed.Response.Task.Exception;
                },
                (Response, Failure: failure),
                preferLocal: false);
        }
    }

    /// <summary>Gives the stream up: the peer gets RST_STREAM, the application nothing more.</summary>
    public void Abort(Http2ErrorCode code) => Connection.Abort(this, code);

    /// <summary>Completes when the peer has reset the stream, or the connection was lost, so that nothing written will arrive. Made on demand.</summary>
    public Task WhenReset
    {
        get
        {
            lock (_resetGate)
            {
                _reset ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                if (_isReset)
                {
                    _reset.TrySetResult();
                }

                return _reset.Task;
            }
        }
    }

    /// <summary>Has a source cancelled at the reset; null to let go of it. Its callbacks run on the thread pool.</summary>
    public void CancelOnReset(CancellationTokenSource? source)
    {
        lock (_resetGate)
        {
            _cancelledByReset = source;
            if (_isReset)
            {
                _ = source?.CancelAsync();
            }
        }
    }

    public void SignalReset()
    {
        lock (_resetGate)
        {
            _isReset = true;
            _reset?.TrySetResult();

            // Within the lock: whoever has let go of it may dispose it.
            _ = _cancelledByReset?.CancelAsync();
        }
    }

    /// <summary>The application is done with the stream: what it wrote is still sent, what it did not read is lost.</summary>
    public void Release()
    {
        Output.Complete();
        Input.Complete();
    }
}
