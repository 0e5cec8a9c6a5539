using System.Buffers;
using System.IO.Pipelines;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>One stream of a connection (RFC 9113, section 5.1): a pipe each way, and the state that the connection keeps of it.</summary>
/// <remarks>
/// The state belongs to the connection and is touched under its lock only. Of the pipes, the connection has the writing end of
/// <see cref="Inbound"/>, its writer has the reading end of <see cref="Outbound"/>, and the application has the other two.
/// </remarks>
internal sealed class Http2Stream
{
    // Flow control bounds what comes in; what goes out is bounded here.
    private static readonly PipeOptions InboundOptions = new(pauseWriterThreshold: 0, resumeWriterThreshold: 0, useSynchronizationContext: false);
    private static readonly PipeOptions OutboundOptions = new(pauseWriterThreshold: 256 * 1024, resumeWriterThreshold: 128 * 1024, useSynchronizationContext: false);

    // Guarded by InboundGate.
    private TaskCompletionSource? _reset;
    private bool _isReset;

    public Http2Stream(Http2Connection connection, int id, int receiveWindow)
    {
        Connection = connection;
        Id = id;
        ReceiveWindow = new FlowWindow(receiveWindow);
        Input = new StreamInput(this);
        Output = new StreamOutput(this);
    }

    public Http2Connection Connection { get; }

    /// <summary>Zero on a client until its HEADERS are written: identifiers must rise in the order of sending.</summary>
    public int Id { get; set; }

    public Pipe Inbound { get; } = new(InboundOptions);

    public Pipe Outbound { get; } = new(OutboundOptions);

    /// <summary>What the application reads.</summary>
    public PipeReader Input { get; }

    /// <summary>What the application writes. Completing it sends END_STREAM.</summary>
    public PipeWriter Output { get; }

    /// <summary>The request, on a server.</summary>
    public IReadOnlyList<HeaderField> RequestHeaders { get; set; } = [];

    /// <summary>The response, on a client: what stands before the first DATA, 1xx responses passed over.</summary>
    public TaskCompletionSource<IReadOnlyList<HeaderField>> Response { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

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

    /// <summary>Response headers were seen; what follows are trailers.</summary>
    public bool ResponseSeen { get; set; }

    /// <summary>Octets delivered that the application has not read.</summary>
    public int Unread { get; set; }

    /// <summary>Its place in the queue of streams that wait for the window of the connection; null when it does not.</summary>
    public LinkedListNode<Http2Stream>? BlockedByConnection { get; set; }

    /// <summary>When something was last sent, or the application closed it; a timestamp.</summary>
    public long LastSent { get; set; }

    // Touched by the connection's writer only.
    public bool OutboundFinished { get; set; }

    // Touched by the connection's reader only.
    public bool InboundTouched { get; set; }

    /// <summary>Guards the writing end of <see cref="Inbound"/>: the reader fills it, whoever ends the stream ends it.</summary>
    public Lock InboundGate { get; } = new();

    /// <summary>Nothing more is written to <see cref="Inbound"/>. Guarded by <see cref="InboundGate"/>.</summary>
    public bool InboundFinished { get; set; }

    /// <summary>Gives the stream up: the peer gets RST_STREAM, the application nothing more.</summary>
    public void Abort(Http2ErrorCode code) => Connection.Abort(this, code);

    /// <summary>Completes when the peer has reset the stream, so that nothing written will arrive. Made on demand.</summary>
    public Task WhenReset
    {
        get
        {
            lock (InboundGate)
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

    public void SignalReset()
    {
        lock (InboundGate)
        {
            _isReset = true;
            _reset?.TrySetResult();
        }
    }

    /// <summary>The application is done with the stream: what it wrote is still sent, what it did not read is lost.</summary>
    public void Release()
    {
        Output.Complete();
        Input.Complete();
    }

    /// <summary>The application's reading end. Reports what was read as credit for the peer.</summary>
    private sealed class StreamInput(Http2Stream stream) : PipeReader
    {
        private readonly PipeReader _reader = stream.Inbound.Reader;
        private ReadOnlySequence<byte> _current;

        public override bool TryRead(out ReadResult result)
        {
            var any = _reader.TryRead(out result);
            _current = result.Buffer;
            return any;
        }

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
        {
            var read = _reader.ReadAsync(cancellationToken);
            if (read.IsCompletedSuccessfully)
            {
                var result = read.Result;
                _current = result.Buffer;
                return new ValueTask<ReadResult>(result);
            }

            return WaitAsync(read);
        }

        public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            var count = (int)(_current.GetOffset(consumed) - _current.GetOffset(_current.Start));
            _current = default;
            _reader.AdvanceTo(consumed, examined);
            if (count > 0)
            {
                stream.Connection.Consumed(stream, count);
            }
        }

        public override void CancelPendingRead() => _reader.CancelPendingRead();

        public override void Complete(Exception? exception = null)
        {
            _current = default;
            stream.Connection.ReleaseInput(stream);
            _reader.Complete(exception);
        }

        private async ValueTask<ReadResult> WaitAsync(ValueTask<ReadResult> read)
        {
            var result = await read;
            _current = result.Buffer;
            return result;
        }
    }

    /// <summary>The application's writing end. Tells the connection when there is something to send.</summary>
    private sealed class StreamOutput(Http2Stream stream) : PipeWriter
    {
        private readonly PipeWriter _writer = stream.Outbound.Writer;

        public override bool CanGetUnflushedBytes => true;

        public override long UnflushedBytes => _writer.UnflushedBytes;

        public override void Advance(int bytes) => _writer.Advance(bytes);

        public override Memory<byte> GetMemory(int sizeHint = 0) => _writer.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => _writer.GetSpan(sizeHint);

        public override void CancelPendingFlush() => _writer.CancelPendingFlush();

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            var flush = _writer.FlushAsync(cancellationToken);
            stream.Connection.Send(stream);
            return flush;
        }

        public override void Complete(Exception? exception = null)
        {
            if (exception is not null)
            {
                stream.Abort(Http2ErrorCode.Cancel);
            }

            _writer.Complete();
            stream.Connection.ReleaseOutput(stream);
        }
    }
}
