using System.Buffers;
using System.Diagnostics;
using System.IO.Pipelines;
using System.Runtime.InteropServices;

namespace Mesh.Hbone.Http2;

/// <summary>What came on a stream, from the connection (which appends) to the application (which reads). Reports what was read as credit for the peer.</summary>
/// <remarks>
/// Instead of a <see cref="Pipe"/> for three things: large pieces are kept where the connection has read them, without a copy; a stream with nothing in
/// it holds no memory; and the application is woken outside every lock, so that it can go on right there (<see cref="HboneOptions.InlineCompletions"/>).
/// It has no bound of its own: flow control is the bound.
/// </remarks>
internal sealed class StreamInput : PipeReader
{
    // A piece keeps the whole buffer that it lies in; a smaller one is copied, so that many small ones cannot keep many buffers.
    private const int SmallestPiece = 12 * 1024;
    private const int SmallestCopy = 1024;
    private const int MaxSpare = 8;

    private readonly Lock _gate = new();
    private readonly Http2Stream _stream;
    private readonly StreamWait<ReadResult> _wait;

    // Guarded by _gate. Positions count all octets since the beginning of the stream.
    private Segment? _first;
    private Segment? _last;
    private Segment? _spare;
    private int _spareCount;
    private long _consumed;
    private long _examined;
    private long _appended;
    private bool _ended;
    private HboneException? _failure;
    private bool _released;
    private bool _cancelled;

    public StreamInput(Http2Stream stream, bool inlineCompletions)
    {
        _stream = stream;
        _wait = new StreamWait<ReadResult>(_gate, inlineCompletions);
    }

    /// <summary>Adds octets; false when the stream has ended, or the application reads no more. The application may be still to be woken: <see cref="Wake"/>.</summary>
    /// <param name="buffer">The buffer that they lie in.</param>
    /// <param name="octets">The octets.</param>
    public bool TryAppend(ReadBuffer buffer, ReadOnlyMemory<byte> octets)
    {
        lock (_gate)
        {
            if (_ended || _released)
            {
                return false;
            }

            if (_last is null || !_last.TryExtend(buffer, octets))
            {
                Append_NeedsLock(buffer, octets);
            }

            _appended += octets.Length;
            return true;
        }
    }

    /// <summary>Wakes the application if it waits and there is something for it.</summary>
    public void Wake()
    {
        ReadResult result;
        CancellationTokenRegistration ended;
        lock (_gate)
        {
            if (!_wait.IsActive || !TryTake_NeedsLock(out result))
            {
                return;
            }

            ended = _wait.End_NeedsLock();
        }

        _wait.SetResult(ended, result);
    }

    /// <summary>Nothing more comes: the application gets what is there, then the end, or the failure. The first call counts.</summary>
    public void End(HboneException? failure)
    {
        ReadResult result;
        bool any;
        CancellationTokenRegistration ended;
        lock (_gate)
        {
            if (_ended)
            {
                return;
            }

            _ended = true;
            _failure = failure;
            if (!_wait.IsActive)
            {
                return;
            }

            any = TryTake_NeedsLock(out result);
            ended = _wait.End_NeedsLock();
        }

        if (any)
        {
            _wait.SetResult(ended, result);
        }
        else
        {
            _wait.SetException(ended, failure!);
        }
    }

    public override bool TryRead(out ReadResult result)
    {
        lock (_gate)
        {
            Check_NeedsLock();
            return TryTake_NeedsLock(out result) || (_ended ? throw _failure! : false);
        }
    }

    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        short version;
        lock (_gate)
        {
            Check_NeedsLock();
            if (TryTake_NeedsLock(out var result))
            {
                return new ValueTask<ReadResult>(result);
            }

            if (_ended)
            {
                throw _failure!;
            }

            version = _wait.Begin_NeedsLock(cancellationToken);
        }

        return _wait.ResultAsync(version, cancellationToken);
    }

    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        int count;
        lock (_gate)
        {
            if (_released)
            {
                return;
            }

            var to = PositionOf(consumed, _consumed);
            _examined = Math.Max(_examined, PositionOf(examined, to));
            if (to < _consumed || to > _appended)
            {
                throw new InvalidOperationException("the position is not one of what was read");
            }

            count = (int)(to - _consumed);
            _consumed = to;
            Free_NeedsLock();
        }

        if (count > 0)
        {
            _stream.Connection.Consumed(_stream, count);
        }
    }

    public override void CancelPendingRead()
    {
        lock (_gate)
        {
            _cancelled = true;
        }

        Wake();
    }

    public override void Complete(Exception? exception = null)
    {
        _stream.Connection.ReleaseInput(_stream);
        lock (_gate)
        {
            _released = true;
            _consumed = _appended;
            Free_NeedsLock();
        }
    }

    private static long PositionOf(SequencePosition position, long absent) =>
        position.GetObject() is Segment segment ? segment.RunningIndex + position.GetInteger() : absent;

    private void Check_NeedsLock()
    {
        if (_released)
        {
            throw new InvalidOperationException("the tunnel's input was completed; it cannot be read any more");
        }

        if (_wait.IsActive)
        {
            throw new InvalidOperationException("the tunnel's input is being read already; one reader at a time");
        }
    }

    private bool TryTake_NeedsLock(out ReadResult result)
    {
        var atEnd = _ended && _failure is null;
        if (_appended > _examined || _cancelled || atEnd)
        {
            result = new ReadResult(Unconsumed_NeedsLock(), _cancelled, atEnd);
            _cancelled = false;
            return true;
        }

        // Nothing, or the failure.
        result = default;
        return false;
    }

    private ReadOnlySequence<byte> Unconsumed_NeedsLock() =>
        _first is null || _last is null
            ? ReadOnlySequence<byte>.Empty
            : new ReadOnlySequence<byte>(_first, (int)(_consumed - _first.RunningIndex), _last, _last.Length);

    private void Append_NeedsLock(ReadBuffer buffer, ReadOnlyMemory<byte> octets)
    {
        var segment = _spare ?? new Segment();
        if (_spare is not null)
        {
            _spare = segment.NextSegment;
            _spareCount--;
        }

        if (octets.Length >= SmallestPiece)
        {
            buffer.Hold();
            segment.Begin(buffer, octets, isCopy: false, _appended);
        }
        else
        {
            // Room for as much again: small pieces come in numbers.
            var copy = ReadBuffer.Rent(Math.Max(octets.Length * 2, SmallestCopy));
            octets.CopyTo(copy.Array);
            segment.Begin(copy, copy.Array.AsMemory(0, octets.Length), isCopy: true, _appended);
        }

        _last?.Link(segment);
        _first ??= segment;
        _last = segment;
    }

    private void Free_NeedsLock()
    {
        while (_first is { } segment && segment.RunningIndex + segment.Length <= _consumed)
        {
            _first = segment.NextSegment;
            segment.Free();
            if (_first is null)
            {
                _last = null;
            }

            if (_spareCount < MaxSpare && !_released)
            {
                segment.Link(_spare);
                _spare = segment;
                _spareCount++;
            }
        }
    }

    /// <summary>A piece of a buffer.</summary>
    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        private ReadBuffer? _buffer;
        private bool _isCopy;
        private int _begin;

        public int Length => Memory.Length;

        public Segment? NextSegment => (Segment?)Next;

        public void Begin(ReadBuffer buffer, ReadOnlyMemory<byte> octets, bool isCopy, long runningIndex)
        {
            _buffer = buffer;
            _isCopy = isCopy;
            _begin = OffsetOf(octets);
            Memory = octets;
            RunningIndex = runningIndex;
            Next = null;
        }

        /// <summary>Takes octets into the piece: those that lie behind it in the same buffer, or, when it is a copy, by copying.</summary>
        public bool TryExtend(ReadBuffer buffer, ReadOnlyMemory<byte> octets)
        {
            var end = _begin + Length;
            if (_isCopy && octets.Length <= _buffer!.Array.Length - end)
            {
                octets.CopyTo(_buffer.Array.AsMemory(end));
            }
            else if (buffer != _buffer || OffsetOf(octets) != end)
            {
                return false;
            }

            Memory = _buffer.Array.AsMemory(_begin, Length + octets.Length);
            return true;
        }

        public void Link(Segment? next) => Next = next;

        public void Free()
        {
            _buffer?.Release();
            _buffer = null;
            Memory = default;
        }

        private static int OffsetOf(ReadOnlyMemory<byte> octets) =>
            MemoryMarshal.TryGetArray(octets, out var array) ? array.Offset : throw new UnreachableException("a buffer is an array");
    }
}
