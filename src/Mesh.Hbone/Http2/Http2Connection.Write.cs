using System.Buffers;
using System.Net.Security;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>The writing half: streams take turns, several frames go out in one write.</summary>
internal sealed partial class Http2Connection
{
    // One write carries up to this: four TLS records, one system call.
    private const int BatchSize = 64 * 1024;

    // The turn of a stream while others wait.
    private const int TurnSize = 16 * 1024;

    // A peer that makes us answer but does not read the answers (floods of PING or SETTINGS) is cut off here.
    private const int MaxControlBacklog = 64 * 1024;

    // Written by the one writer.
    private readonly OutputBuffer _batch = new();
    private readonly OutputBuffer _headerBlock = new();
    private readonly HpackEncoder _encoder = new();

    // Guarded by _gate.
    private readonly OutputBuffer _control = new();
    private readonly Queue<Http2Stream> _sendQueue = new();
    private readonly LinkedList<Http2Stream> _blockedByConnection = new();
    private bool _sendingClosed;

    // How often somebody had something to send since the writer last looked; above zero while it is at work.
    private int _writeSignals;

    /// <summary>Puts a stream in the queue and sees that somebody writes.</summary>
    public void Send(Http2Stream stream)
    {
        lock (_gate)
        {
            Enqueue_NeedsLock(stream);
        }

        ScheduleWrite();
    }

    private void Enqueue_NeedsLock(Http2Stream stream)
    {
        if (!stream.Queued)
        {
            stream.Queued = true;
            _sendQueue.Enqueue(stream);
        }
    }

    private void ScheduleWrite()
    {
        if (Interlocked.Increment(ref _writeSignals) == 1)
        {
            _ = WriteAsync();
        }
    }

    private async Task WriteAsync()
    {
        int seen;
        do
        {
            seen = Volatile.Read(ref _writeSignals);
            try
            {
                while (Compose())
                {
                    await _transport.WriteAsync(_batch.Written);
                    _batch.Clear();
                }
            }
            catch (Exception e)
            {
                // The reader sees the end of the transport and settles with the streams; here it only matters that nobody waits for us.
                OnTransportFailed(e);
            }

            _batch.Release();
            await CloseSendingAsync();
        }
        while (Interlocked.Add(ref _writeSignals, -seen) != 0);
    }

    // The last thing sent is that nothing follows; the peer then closes, and the reader sees it. Whoever closed has bounded the wait for that.
    private async ValueTask CloseSendingAsync()
    {
        lock (_gate)
        {
            if (!_closing || _sendingClosed || _control.Length > 0)
            {
                return;
            }

            _sendingClosed = true;
        }

        try
        {
            if (_transport is SslStream tls)
            {
                await tls.ShutdownAsync();
                return;
            }
        }
        catch (Exception)
        {
            // The transport is gone already.
        }

        CutTransport();
    }

    private void OnTransportFailed(Exception e)
    {
        lock (_gate)
        {
            _failure ??= new HboneException(HboneError.ConnectionLost, $"the connection was lost while writing: {e.Message}", e);
            _draining = true;
            _closing = true;
            _control.Release();
        }

        CutTransport();
        while (Next() is { } stream)
        {
            FinishOutbound(stream);
        }
    }

    /// <summary>Fills the batch; false when there is nothing to send.</summary>
    private bool Compose()
    {
        lock (_gate)
        {
            if (_control.Length > 0)
            {
                _batch.Append(_control);
                _control.Release();
            }

            if (_peer.TakeHeaderTableSizes() is { } sizes)
            {
                _encoder.Resize(sizes.Smallest);
                _encoder.Resize(sizes.Newest);
            }
        }

        while (_batch.Length < BatchSize && Next() is { } stream)
        {
            Write(stream);
        }

        return _batch.Length > 0;
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
            maxFrameSize = Math.Min(_peer.MaxFrameSize, BatchSize);
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
            FailInbound(stream, stream.ResetReason ?? GivenUp());
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
            FailInbound(stream, failure);
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
            FinishOutbound(stream);
            return;
        }

        var reader = stream.Outbound.Reader;
        if (stream.Id == 0 || stream.OutboundFinished || !reader.TryRead(out var result))
        {
            return;
        }

        var available = result.Buffer;
        var count = 0;
        if (!available.IsEmpty)
        {
            count = TakeWindow(stream, (int)Math.Min(available.Length, maxFrameSize));
            if (count == 0)
            {
                reader.AdvanceTo(available.Start);
                return;
            }
        }

        var end = result.IsCompleted && count == available.Length;
        var payload = available.Slice(0, count);
        if (count > 0 || end)
        {
            var span = _batch.GetSpan(FrameHeader.Size + count);
            new FrameHeader(count, FrameType.Data, end ? FrameFlags.EndStream : FrameFlags.None, stream.Id).Write(span);
            payload.CopyTo(span[FrameHeader.Size..]);
            _batch.Advance(FrameHeader.Size + count);
        }

        reader.AdvanceTo(payload.End);
        lock (_gate)
        {
            if (end)
            {
                CloseLocal_NeedsLock(stream);
                ResetIfAbandoned_NeedsLock(stream);
            }
            else if (count < available.Length)
            {
                Enqueue_NeedsLock(stream);
            }
        }

        if (end)
        {
            FinishOutbound(stream);
        }
    }

    // How much may go out now. When the peer's window for the stream is shut, its WINDOW_UPDATE puts the stream in the queue again.
    private int TakeWindow(Http2Stream stream, int wanted)
    {
        lock (_gate)
        {
            var turn = _sendQueue.Count > 0 ? TurnSize : BatchSize;
            var count = Math.Min(Math.Min(wanted, turn), Math.Min(stream.SendWindow.Available, _sendWindow.Available));
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

    // From now on the application's flushes say that nobody reads.
    private static void FinishOutbound(Http2Stream stream)
    {
        if (!stream.OutboundFinished)
        {
            stream.OutboundFinished = true;
            stream.Outbound.Reader.Complete();
        }
    }
}
