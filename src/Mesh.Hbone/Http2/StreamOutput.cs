using System.Buffers;
using System.IO.Pipelines;

namespace Mesh.Hbone.Http2;

/// <summary>What the application writes to a stream, until the connection sends it. Completing it sends END_STREAM.</summary>
/// <remarks>
/// Instead of a <see cref="Pipe"/> for three things: every piece has room for a frame header before it, so that a large one is sent from where it lies; a
/// stream with nothing to send holds no memory; and a writer that waits can go on where room was made (<see cref="HboneOptions.InlineCompletions"/>).
/// </remarks>
internal sealed class StreamOutput : PipeWriter
{
    // Between these a writer waits.
    private const int PauseAt = 64 * 1024;
    private const int ResumeAt = 32 * 1024;

    // Where others wait already, pieces are larger, so that they are few.
    private const int SmallestPiece = (4 * 1024) - FrameHeader.Size;
    private const int FurtherPiece = (16 * 1024) - FrameHeader.Size;

    // As many as a writer fills before it waits are kept to be used again, without their arrays.
    private const int MaxSpare = 8;

    private readonly Lock _gate = new();
    private readonly Http2Stream _stream;
    private readonly StreamWait<FlushResult> _wait;

    // Guarded by _gate.
    private Piece? _first;
    private Piece? _last;
    private Piece? _spare;
    private int _spareCount;
    private int _length;
    private int _unflushed;
    private bool _lent;
    private bool _completed;
    private bool _closed;
    private bool _cancelled;

    public StreamOutput(Http2Stream stream, bool inlineCompletions)
    {
        _stream = stream;
        _wait = new StreamWait<FlushResult>(_gate, inlineCompletions);
    }

    public override bool CanGetUnflushedBytes => true;

    public override long UnflushedBytes
    {
        get
        {
            lock (_gate)
            {
                return _unflushed;
            }
        }
    }

    /// <summary>What is to be sent, how much of it lies in the first piece, and whether nothing follows.</summary>
    public (int Length, int First, bool IsCompleted) Pending
    {
        get
        {
            lock (_gate)
            {
                return (_length, _first is { } piece ? Math.Min(piece.End - piece.Start, _length) : 0, _completed);
            }
        }
    }

    /// <summary>The first octets, when as many lie in one piece: with <see cref="FrameHeader.Size"/> octets before them that may be written over. The connection's writer only.</summary>
    public Memory<byte> Peek(int count)
    {
        lock (_gate)
        {
            return _first is { } piece && piece.End - piece.Start >= count ? piece.Array.AsMemory(piece.Start - FrameHeader.Size, FrameHeader.Size + count) : default;
        }
    }

    /// <summary>Copies the first octets. The connection's writer only.</summary>
    public void CopyTo(Span<byte> target)
    {
        lock (_gate)
        {
            for (var piece = _first; piece is not null && !target.IsEmpty; piece = piece.Next)
            {
                var part = piece.Array.AsSpan(piece.Start, Math.Min(piece.End - piece.Start, target.Length));
                part.CopyTo(target);
                target = target[part.Length..];
            }
        }
    }

    /// <summary>The first octets are sent. The connection's writer only. A writer that waits may go on in here.</summary>
    public void AdvanceTo(int count)
    {
        CancellationTokenRegistration ended;
        lock (_gate)
        {
            _length -= count;
            while (_first is { } piece)
            {
                var part = Math.Min(piece.End - piece.Start, count);
                piece.Start += part;
                count -= part;
                if (piece.Start < piece.End || (piece == _last && _lent))
                {
                    break;
                }

                RemoveFirst_NeedsLock(piece);
            }

            if (!_wait.IsActive || _length > ResumeAt)
            {
                return;
            }

            ended = _wait.End_NeedsLock();
        }

        _wait.SetResult(ended, default);
    }

    /// <summary>Nothing more is sent: what is left is dropped, and the application's flushes say that nobody reads. The connection's writer only.</summary>
    public void Close()
    {
        CancellationTokenRegistration ended;
        lock (_gate)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            _length = 0;
            while (_first is { } piece && !(piece == _last && _lent))
            {
                RemoveFirst_NeedsLock(piece);
            }

            if (!_wait.IsActive)
            {
                return;
            }

            ended = _wait.End_NeedsLock();
        }

        _wait.SetResult(ended, new FlushResult(isCanceled: false, isCompleted: true));
    }

    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        lock (_gate)
        {
            ThrowIfCompleted_NeedsLock();
            if (_last is not { } piece || piece.Array.Length - piece.End < Math.Max(sizeHint, 1))
            {
                piece = Begin_NeedsLock(Math.Max(sizeHint, _length > 0 ? FurtherPiece : SmallestPiece));
            }

            _lent = true;
            return piece.Array.AsMemory(piece.End);
        }
    }

    public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    public override void Advance(int bytes)
    {
        lock (_gate)
        {
            if (bytes < 0 || _last is not { } piece || bytes > piece.Array.Length - piece.End)
            {
                throw new ArgumentOutOfRangeException(nameof(bytes), bytes, "more than was asked for");
            }

            _lent = false;
            piece.End += bytes;
            _unflushed += bytes;
            if (piece == _first && piece.Start == piece.End)
            {
                // Lent for nothing.
                RemoveFirst_NeedsLock(piece);
            }
        }
    }

    public override ValueTask<FlushResult> WriteAsync(ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
    {
        // In pieces that are sent as they lie.
        while (!source.IsEmpty)
        {
            var part = source[..Math.Min(source.Length, Http2Connection.BatchSize - FrameHeader.Size)];
            lock (_gate)
            {
                // In one step: the memory must not go back to the pool when somebody closes the tunnel meanwhile.
                part.CopyTo(GetMemory(part.Length));
                Advance(part.Length);
            }

            source = source[part.Length..];
        }

        return FlushAsync(cancellationToken);
    }

    public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        FlushResult? result = null;
        short version = 0;
        bool now;
        lock (_gate)
        {
            Commit_NeedsLock();
            now = _length >= FurtherPiece;
            if (_cancelled || _closed || _length < PauseAt)
            {
                result = new FlushResult(_cancelled, _closed);
                _cancelled = false;
            }
            else if (_wait.IsActive)
            {
                throw new InvalidOperationException("the tunnel's output is being flushed already; one writer at a time");
            }
            else
            {
                version = _wait.Begin_NeedsLock(cancellationToken);
            }
        }

        var flushing = result is { } known ? new ValueTask<FlushResult>(known) : _wait.ResultAsync(version, cancellationToken);
        _stream.Connection.Send(_stream, now);
        return flushing;
    }

    public override void CancelPendingFlush()
    {
        CancellationTokenRegistration ended;
        lock (_gate)
        {
            if (!_wait.IsActive)
            {
                _cancelled = true;
                return;
            }

            ended = _wait.End_NeedsLock();
        }

        _wait.SetResult(ended, new FlushResult(isCanceled: true, isCompleted: false));
    }

    public override void Complete(Exception? exception = null)
    {
        if (exception is not null)
        {
            _stream.Abort(Http2ErrorCode.Cancel);
        }

        lock (_gate)
        {
            // What is lent stays lent: somebody may be writing to it at this moment.
            Commit_NeedsLock();
            _completed = true;
        }

        _stream.Connection.ReleaseOutput(_stream);
    }

    private void ThrowIfCompleted_NeedsLock()
    {
        if (_completed)
        {
            throw new InvalidOperationException("the tunnel's output was completed; nothing more can be written");
        }
    }

    private Piece Begin_NeedsLock(int size)
    {
        var piece = _spare ?? new Piece();
        if (_spare is not null)
        {
            _spare = piece.Next;
            _spareCount--;
        }

        piece.Begin(size);
        var last = _last;
        _last = piece;
        if (last is null)
        {
            _first = piece;
            return piece;
        }

        last.Next = piece;
        if (last == _first && last.Start == last.End)
        {
            // Lent, and never used.
            RemoveFirst_NeedsLock(last);
        }

        return piece;
    }

    private void Commit_NeedsLock()
    {
        _length += _closed ? 0 : _unflushed;
        _unflushed = 0;
        while (_closed && !_lent && _first is { } piece)
        {
            RemoveFirst_NeedsLock(piece);
        }
    }

    private void RemoveFirst_NeedsLock(Piece piece)
    {
        _first = piece.Next;
        if (_first is null)
        {
            _last = null;
        }

        piece.Free();
        if (_spareCount < MaxSpare)
        {
            piece.Next = _spare;
            _spare = piece;
            _spareCount++;
        }
    }

    /// <summary>A pooled array: room for a frame header, octets to send, room for more.</summary>
    private sealed class Piece
    {
        public byte[] Array { get; private set; } = [];

        public int Start { get; set; }

        public int End { get; set; }

        public Piece? Next { get; set; }

        public void Begin(int size)
        {
            Array = ArrayPool<byte>.Shared.Rent(FrameHeader.Size + size);
            Start = FrameHeader.Size;
            End = FrameHeader.Size;
            Next = null;
        }

        public void Free()
        {
            ArrayPool<byte>.Shared.Return(Array);
            Array = [];
            Next = null;
        }
    }
}
