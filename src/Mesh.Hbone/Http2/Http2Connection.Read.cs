using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone.Http2;

/// <summary>The reading half: frames as they come, DATA in whatever pieces they come.</summary>
internal sealed partial class Http2Connection
{
    // The applications are woken when nothing more is at hand, when the buffer is full, or when as much was read in small pieces.
    private const int MaxNotWoken = 128 * 1024;

    // One TLS record.
    private const int SmallestRead = 16 * 1024;
    private const int MaxClientStreamId = int.MaxValue - 2;

    // Payloads other than DATA and header blocks that are read whole: SETTINGS and GOAWAY with debug data.
    private const int MaxControlPayload = 16 * 1024;

    // An encoded block is smaller than its list, but for one made to be large; CONTINUATION cannot go on for ever (CVE-2024-27316).
    private const int HeaderBlockSlack = 4 * 1024;

    private const ulong KeepAlivePing = 0x6D657368_6B656570;
    private const ulong DrainPing = 0x6D657368_64726169;

    private static ReadOnlySpan<byte> Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8;

    private readonly List<Http2Stream> _touched = [];
    private ReadBuffer? _readBuffer;
    private int _start;
    private int _end;
    private int _notWoken;
    private bool _prefaceSeen;
    private bool _settingsSeen;

    // What is left of a frame of unknown type.
    private int _skipLeft;

    private async Task ReadAsync()
    {
        HboneException failure;
        var turn = EventLoop.Budget.OfOctets;
        try
        {
            while (true)
            {
                var read = await (_polled is null ? ReceiveAsync() : ReceiveAsync(_polled));
                if (read == 0)
                {
                    failure = new HboneException(HboneError.ConnectionLost, "the peer closed the connection");
                    break;
                }

                _keepAlive.OnFrame();
                _end += read;
                _notWoken += read;
                if (_readLoad.Count(read))
                {
                    Busy?.Invoke();
                }

                _start += Process(_readBuffer!.Array.AsMemory(_start, _end - _start), out var needed);
                WriteAnswers();
                MakeRoom(needed);
                if (turn.IsUsedUp(read))
                {
                    WakeTouched();
                    await EventLoop.YieldAsync();
                }
            }

            ReleaseReadBuffer();
        }
        catch (Http2ConnectionException e)
        {
            _logger.ProtocolBroken(Id, e.Code, e.Message);
            failure = new HboneException(HboneError.ProtocolError, $"the peer broke the protocol ({e.Code}): {e.Message}") { Code = e.Code };
            Close(e.Code, failure);
            await WaitForWriterAsync();
            ReleaseReadBuffer();
        }
        catch (Exception e)
        {
            if (_polled is not null)
            {
                // Another transport may still write to the buffer.
                ReleaseReadBuffer();
            }

            failure = new HboneException(HboneError.ConnectionLost, $"the connection was lost: {e.Message}", e);
        }

        WakeTouched();
        Finish(failure);
    }

    // Into the buffer, which is there then. Before it waits, the applications get what has come.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> ReceiveAsync(IPolledReader reader)
    {
        while (true)
        {
            _readBuffer ??= ReadBuffer.Rent(ReadBuffer.DefaultSize);
            if (reader.TryRead(_readBuffer.Array.AsSpan(_end), out var count))
            {
                return count;
            }

            var waiting = reader.WaitForEventAsync(CancellationToken.None);
            if (!waiting.IsCompleted)
            {
                BeforeWait();
            }

            await waiting;
        }
    }

    // The same from a transport that cannot be polled: it waits when it is asked for nothing.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> ReceiveAsync()
    {
        if (_start == _end)
        {
            var waiting = _transport.ReadAsync(Memory<byte>.Empty);
            if (!waiting.IsCompleted)
            {
                BeforeWait();
            }

            await waiting;
        }

        _readBuffer ??= ReadBuffer.Rent(ReadBuffer.DefaultSize);
        var reading = _transport.ReadAsync(_readBuffer.Array.AsMemory(_end));
        if (!reading.IsCompleted)
        {
            WakeTouched();
        }

        return await reading;
    }

    // Who is idle holds no buffer.
    private void BeforeWait()
    {
        WakeTouched();
        if (_start == _end)
        {
            ReleaseReadBuffer();
        }
    }

    private void ReleaseReadBuffer()
    {
        _readBuffer?.Release();
        _readBuffer = null;
        _start = 0;
        _end = 0;
    }

    // What streams hold is not written over. A frame that does not fit gets a larger buffer, of a size that Process has bounded.
    private void MakeRoom(int needed)
    {
        var buffer = _readBuffer!;
        var rest = _end - _start;
        var room = buffer.Array.Length - _end;
        var full = room < SmallestRead || (rest == 0 && _dataLeft == 0 && room < Math.Min(_lastDataLength + FrameHeader.Size, ReadBuffer.DefaultSize));
        if ((full && buffer.IsShared) || _notWoken >= MaxNotWoken)
        {
            // A full buffer goes out at once; whoever takes it right here leaves it free. A frame like the last one is not begun where it does not fit:
            // in one piece it is written at once.
            WakeTouched();
        }

        if (!buffer.IsShared && (rest == 0 || needed <= buffer.Array.Length))
        {
            if (rest == 0 || _start + needed > buffer.Array.Length || buffer.Array.Length - _end < SmallestRead)
            {
                buffer.Array.AsSpan(_start, rest).CopyTo(buffer.Array);
                _start = 0;
                _end = rest;
            }

            return;
        }

        if (rest == 0 ? full : _start + needed > buffer.Array.Length || buffer.Array.Length - _end < SmallestRead)
        {
            var next = ReadBuffer.Rent(Math.Max(needed, ReadBuffer.DefaultSize));
            buffer.Array.AsSpan(_start, rest).CopyTo(next.Array);
            buffer.Release();
            _readBuffer = next;
            _start = 0;
            _end = rest;
        }
    }

    /// <summary>The last act of a connection: nothing is read any more, every stream learns why.</summary>
    private void Finish(HboneException failure)
    {
        _ticker?.Dispose();
        CutTransport();
        List<Http2Stream> streams;
        lock (_gate)
        {
            failure = _failure ??= failure;
            _draining = true;
            _closing = true;
            streams = [.. _streams.Values, .. _sendQueue];
            foreach (var stream in streams)
            {
                CloseBoth_NeedsLock(stream);
                Enqueue_NeedsLock(stream);
            }
        }

        _ready.TrySetException(failure);
        _ = _ready.Task.Exception;
        foreach (var stream in streams)
        {
            // What was never sent may be tried again elsewhere.
            stream.FailInbound(stream.Id == 0 ? Unprocessed() : failure);
            stream.SignalReset();
        }

        ScheduleWrite();
        _closed.TrySetResult();
    }

    // A GOAWAY that says what was wrong is worth a moment; Close has bounded it.
    private async Task WaitForWriterAsync()
    {
        using var bound = new CancellationTokenSource(GoAwayGrace, _time);
        var scratch = new byte[256];
        try
        {
            while (await _transport.ReadAsync(scratch, bound.Token) > 0)
            {
                // What the peer still sends does not matter any more; the writer ends the transport.
            }
        }
        catch (Exception)
        {
            // The transport has ended, which is all that was waited for.
        }
    }

    /// <summary>Takes as many octets as make sense by themselves.</summary>
    /// <param name="source">What has come.</param>
    /// <param name="needed">How much must be there, from the first octet not taken, for the next step.</param>
    /// <returns>How many octets were taken.</returns>
    private int Process(ReadOnlyMemory<byte> source, out int needed)
    {
        var octets = source.Span;
        var taken = 0;
        needed = FrameHeader.Size;
        while (true)
        {
            var rest = octets[taken..];
            if (_dataLeft + _paddingLeft > 0)
            {
                if (rest.IsEmpty)
                {
                    return taken;
                }

                taken += ReadData(source[taken..]);
                continue;
            }

            if (_skipLeft > 0)
            {
                var skipped = Math.Min(_skipLeft, rest.Length);
                _skipLeft -= skipped;
                taken += skipped;
                if (_skipLeft > 0)
                {
                    return taken;
                }

                continue;
            }

            if (_isServer && !_prefaceSeen)
            {
                if (!Preface[..Math.Min(rest.Length, Preface.Length)].SequenceEqual(rest[..Math.Min(rest.Length, Preface.Length)]))
                {
                    throw new Http2ConnectionException(Http2ErrorCode.ProtocolError, "the connection does not begin with the HTTP/2 preface");
                }

                needed = Preface.Length;
                if (rest.Length < Preface.Length)
                {
                    return taken;
                }

                _prefaceSeen = true;
                taken += Preface.Length;
                continue;
            }

            needed = FrameHeader.Size;
            if (rest.Length < FrameHeader.Size)
            {
                return taken;
            }

            var header = FrameHeader.Read(rest);
            CheckOrder(header);
            if (header.Type is FrameType.Data)
            {
                if (header.Has(FrameFlags.Padded) && rest.Length == FrameHeader.Size && header.Length > 0)
                {
                    needed = FrameHeader.Size + 1;
                    return taken;
                }

                taken += FrameHeader.Size + BeginData(header, rest[FrameHeader.Size..]);
                continue;
            }

            if (header.Type > FrameType.Continuation)
            {
                // Unknown types are ignored (RFC 9113, section 4.1), and need not be held for that.
                _floods.Charge(FloodBudget.IdleFrame, "frames of unknown type");
                _skipLeft = header.Length;
                taken += FrameHeader.Size;
                continue;
            }

            CheckLength(header);
            needed = FrameHeader.Size + header.Length;
            if (rest.Length < needed)
            {
                return taken;
            }

            Dispatch(header, rest.Slice(FrameHeader.Size, header.Length));
            taken += needed;
        }
    }

    private void CheckOrder(in FrameHeader header)
    {
        if (!_settingsSeen && (header.Type is not FrameType.Settings || header.Has(FrameFlags.Ack)))
        {
            throw new Http2ConnectionException(Http2ErrorCode.ProtocolError, $"the first frame is {header.Type}, not SETTINGS");
        }

        if (_continuing != 0 && (header.Type is not FrameType.Continuation || header.StreamId != _continuing))
        {
            throw new Http2ConnectionException(Http2ErrorCode.ProtocolError, $"{header.Type} on stream {header.StreamId} within the header block of stream {_continuing}");
        }

        if (header.Length > _options.MaxFrameSize)
        {
            throw new Http2ConnectionException(Http2ErrorCode.FrameSizeError, $"a frame of {header.Length} octets; at most {_options.MaxFrameSize} are allowed");
        }
    }

    private void CheckLength(in FrameHeader header)
    {
        var (min, max) = header.Type switch
        {
            FrameType.Headers or FrameType.Continuation => (0, _maxHeaderListSize + HeaderBlockSlack),
            FrameType.Priority => (5, 5),
            FrameType.RstStream or FrameType.WindowUpdate => (4, 4),
            FrameType.Ping => (8, 8),
            FrameType.GoAway => (8, MaxControlPayload),
            _ => (0, MaxControlPayload),
        };
        if (header.Length < min || header.Length > max)
        {
            var code = header.Type is FrameType.Headers or FrameType.Continuation ? Http2ErrorCode.EnhanceYourCalm : Http2ErrorCode.FrameSizeError;
            throw new Http2ConnectionException(code, $"{header.Type} of {header.Length} octets; allowed are {min} to {max}");
        }
    }

    private void Dispatch(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        switch (header.Type)
        {
            case FrameType.Headers:
                OnHeaders(header, payload);
                break;
            case FrameType.Continuation:
                OnContinuation(header, payload);
                break;
            case FrameType.Priority:
                // Deprecated and ignored (RFC 9113, section 5.3.2), but for what is never right.
                Require(header.StreamId != 0, "PRIORITY on stream 0");
                _floods.Charge(FloodBudget.IdleFrame, "PRIORITY");
                break;
            case FrameType.RstStream:
                OnRstStream(header.StreamId, (Http2ErrorCode)BinaryPrimitives.ReadInt32BigEndian(payload));
                break;
            case FrameType.Settings:
                OnSettings(header, payload);
                break;
            case FrameType.PushPromise:
                throw new Http2ConnectionException(Http2ErrorCode.ProtocolError, "PUSH_PROMISE, which we do not allow");
            case FrameType.Ping:
                OnPing(header, BinaryPrimitives.ReadUInt64BigEndian(payload));
                break;
            case FrameType.GoAway:
                Require(header.StreamId == 0, "GOAWAY on a stream");
                OnGoAway(BinaryPrimitives.ReadInt32BigEndian(payload) & int.MaxValue, (Http2ErrorCode)BinaryPrimitives.ReadInt32BigEndian(payload[4..]));
                break;
            default:
                OnWindowUpdate(header.StreamId, BinaryPrimitives.ReadInt32BigEndian(payload) & int.MaxValue);
                break;
        }
    }

    // Once for all frames that were at hand: wakes the applications. Their code may run in here; it does not throw.
    private void WakeTouched()
    {
        _notWoken = 0;
        foreach (var stream in _touched)
        {
            stream.InboundTouched = false;
            stream.Input.Wake();
        }

        _touched.Clear();
    }

    private void WriteAnswers()
    {
        bool anythingToSend;
        lock (_gate)
        {
            if (_control.Length > MaxControlBacklog)
            {
                throw new Http2ConnectionException(Http2ErrorCode.EnhanceYourCalm, "the peer demands answers that it does not read");
            }

            anythingToSend = _control.Length > 0 || _sendQueue.Count > 0;
        }

        if (anythingToSend)
        {
            ScheduleWrite();
        }
    }
}
