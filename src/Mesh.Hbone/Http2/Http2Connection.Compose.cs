using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>What goes into a write: what answers the peer, then the streams in turn, each with its headers, its reset, its credit and its DATA.</summary>
internal sealed partial class Http2Connection
{
    // Less room than this is left empty: small frames cost as much as large ones.
    private const int SmallestRoom = 4 * 1024;

    // A frame of this size is sent from where the application has put it; a smaller one is copied, and shares a TLS record with others.
    private const int SmallestInPlace = 8 * 1024;

    // Touched by the one writer.
    private readonly OutputBuffer _headerBlock = new();
    private readonly HpackEncoder _encoder = new();

    /// <summary>Fills the batch; false when there is nothing to send.</summary>
    private bool Compose()
    {
        bool sendingClosed;
        lock (_gate)
        {
            sendingClosed = _sendingClosed;
            if (sendingClosed)
            {
                _control.Release();
            }

            if (_control.Length > 0)
            {
                _batch.Append(_control.Written.Span);
                _control.Release();
            }

            if (_peer.TakeHeaderTableSizes() is { } sizes)
            {
                _encoder.Resize(sizes.Smallest);
                _encoder.Resize(sizes.Newest);
            }
        }

        if (sendingClosed)
        {
            // Nothing goes behind the end; who still writes learns that nobody reads.
            CloseOutputs();
            return false;
        }

        while (_inPlaceStream is null && _batch.Length <= BatchSize - SmallestRoom && Next() is { } stream)
        {
            Write(stream);
        }

        return _batch.Length > 0 || _inPlaceStream is not null;
    }

    private Http2Stream? Next()
    {
        lock (_gate)
        {
            if (!_sendQueue.TryDequeue(out var stream))
            {
                return null;
            }

            stream.Queued = false;
            return stream;
        }
    }

    private void Write(Http2Stream stream)
    {
        IReadOnlyList<HeaderField>? headers;
        bool endStream;
        Http2ErrorCode? reset;
        int maxFrameSize;
        lock (_gate)
        {
            headers = TakeHeaders_NeedsLock(stream);
            reset = TakeReset_NeedsLock(stream);
            endStream = headers is not null && stream.EndWithHeaders;
            maxFrameSize = _peer.MaxFrameSize;
            if (endStream)
            {
                CloseLocal_NeedsLock(stream);
                ResetIfAbandoned_NeedsLock(stream);
            }
        }

        if (headers is not null)
        {
            _headerBlock.Clear();
            _encoder.Encode(headers, _headerBlock);
            FrameWriter.WriteHeaders(_batch, stream.Id, _headerBlock.Written.Span, maxFrameSize, endStream);
            _headerBlock.Release();
        }

        if (reset is { } code)
        {
            FrameWriter.WriteRstStream(_batch, stream.Id, code);
            stream.FailInbound(stream.ResetReason ?? GivenUp());
        }

        WriteCredit(stream);
        WriteData(stream, maxFrameSize);
    }

    private IReadOnlyList<HeaderField>? TakeHeaders_NeedsLock(Http2Stream stream)
    {
        var headers = stream.PendingHeaders;
        stream.PendingHeaders = null;
        if (headers is null || stream.LocalClosed)
        {
            return null;
        }

        stream.Answered = true;
        if (stream.Id != 0)
        {
            return headers;
        }

        if (_closing || _draining || stream.PendingReset is not null || _nextStreamId > MaxClientStreamId)
        {
            // Never sent, so the peer needs to know nothing of it.
            var failure = stream.PendingReset is null ? Unprocessed() : stream.ResetReason ?? GivenUp();
            stream.PendingReset = null;
            _draining |= _nextStreamId > MaxClientStreamId;
            CloseBoth_NeedsLock(stream);
            stream.FailInbound(failure);
            return null;
        }

        stream.Id = _nextStreamId;
        stream.SendWindow = new FlowWindow(_peer.InitialWindowSize);
        _nextStreamId += 2;
        _streams.Add(stream.Id, stream);
        return headers;
    }

    private Http2ErrorCode? TakeReset_NeedsLock(Http2Stream stream)
    {
        // The server's code is that of RFC 9113, section 8.1.
        var reset = stream.PendingReset ?? (IsAbandoned(stream) ? _isServer ? Http2ErrorCode.NoError : Http2ErrorCode.Cancel : null);
        stream.PendingReset = null;
        if (reset is null || stream.Id == 0 || (stream.LocalClosed && stream.RemoteClosed))
        {
            return null;
        }

        CloseBoth_NeedsLock(stream);
        return reset;
    }

    // The application has turned away while the peer may still send.
    private static bool IsAbandoned(Http2Stream stream) => stream is { LocalClosed: true, RemoteClosed: false, InputReleased: true };

    private void ResetIfAbandoned_NeedsLock(Http2Stream stream)
    {
        if (IsAbandoned(stream))
        {
            Enqueue_NeedsLock(stream);
        }
    }

    private void WriteCredit(Http2Stream stream)
    {
        int credit;
        lock (_gate)
        {
            credit = stream.PendingCredit;
            if (stream.RemoteClosed || stream.InputReleased || credit < _options.StreamWindowSize / 2)
            {
                return;
            }

            stream.PendingCredit = 0;
            stream.ReceiveWindow.TryAdd(credit);
        }

        FrameWriter.WriteWindowUpdate(_batch, stream.Id, credit);
    }

    private void WriteData(Http2Stream stream, int maxFrameSize)
    {
        if (IsLocalClosed(stream))
        {
            stream.Output.Close();
            return;
        }

        var (available, first, isCompleted) = stream.Output.Pending;
        if (stream.Id == 0 || (available == 0 && !isCompleted))
        {
            return;
        }

        lock (_gate)
        {
            if (!stream.Answered)
            {
                // Headers go first. They may have been queued since this turn began; then there is another turn.
                return;
            }
        }

        var count = 0;
        if (available > 0)
        {
            var room = Math.Max(BatchSize - _batch.Length, SmallestRoom) - FrameHeader.Size;
            count = TakeWindow(stream, Math.Min(first >= SmallestInPlace ? first : available, Math.Min(maxFrameSize, room)));
            if (count == 0)
            {
                return;
            }
        }

        var end = isCompleted && count == available;
        WriteFrame(stream, count, end);
        lock (_gate)
        {
            if (end)
            {
                CloseLocal_NeedsLock(stream);
                ResetIfAbandoned_NeedsLock(stream);
            }
            else if (count < available)
            {
                Enqueue_NeedsLock(stream);
            }
        }

        if (end && _inPlaceStream is null)
        {
            stream.Output.Close();
        }
    }

    private void WriteFrame(Http2Stream stream, int count, bool end)
    {
        var header = new FrameHeader(count, FrameType.Data, end ? FrameFlags.EndStream : FrameFlags.None, stream.Id);
        if (count >= SmallestInPlace && stream.Output.Peek(count) is { IsEmpty: false } frame)
        {
            header.Write(frame.Span);
            _inPlace = frame;
            _inPlaceStream = stream;
            return;
        }

        var span = _batch.GetSpan(FrameHeader.Size + count);
        header.Write(span);
        stream.Output.CopyTo(span.Slice(FrameHeader.Size, count));
        _batch.Advance(FrameHeader.Size + count);
        stream.Output.AdvanceTo(count);
    }

    // How much may go out now. When the peer's window for the stream is shut, its WINDOW_UPDATE puts the stream in the queue again.
    private int TakeWindow(Http2Stream stream, int wanted)
    {
        lock (_gate)
        {
            var count = Math.Min(wanted, Math.Min(stream.SendWindow.Available, _sendWindow.Available));
            if (count > 0)
            {
                stream.SendWindow.TryTake(count);
                _sendWindow.TryTake(count);
                stream.LastSent = _time.GetTimestamp();
                return count;
            }

            if (stream.SendWindow.Available > 0)
            {
                stream.BlockedByConnection ??= _blockedByConnection.AddLast(stream);
            }

            return 0;
        }
    }

    private bool IsLocalClosed(Http2Stream stream)
    {
        lock (_gate)
        {
            return stream.LocalClosed || _closing;
        }
    }
}
