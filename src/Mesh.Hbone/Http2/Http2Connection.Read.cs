using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Pipelines;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

/// <summary>The reading half: frames as they come, DATA in whatever pieces they come.</summary>
internal sealed partial class Http2Connection
{
    private const int ReadBufferSize = 64 * 1024;
    private const int MaxClientStreamId = int.MaxValue - 2;

    // Payloads other than DATA and header blocks that are read whole: SETTINGS and GOAWAY with debug data.
    private const int MaxControlPayload = 16 * 1024;

    // An encoded block is smaller than its list, but for one made to be large; CONTINUATION cannot go on for ever (CVE-2024-27316).
    private const int HeaderBlockSlack = 4 * 1024;

    private const ulong KeepAlivePing = 0x6D657368_6B656570;
    private const ulong DrainPing = 0x6D657368_64726169;

    private static ReadOnlySpan<byte> Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8;

    private readonly HpackDecoder _decoder;
    private readonly ArrayBufferWriter<byte> _block = new();
    private readonly List<Http2Stream> _touched = [];
    private bool _prefaceSeen;
    private bool _settingsSeen;

    // The stream whose header block is being continued; 0 when none is.
    private int _continuing;
    private bool _continuingEndsStream;

    // The DATA frame that is being read: payload and padding still to come, and whose it is (null: nobody's any more).
    private int _dataLeft;
    private int _paddingLeft;
    private bool _dataEndsStream;
    private Http2Stream? _dataStream;

    // What is left of a frame of unknown type.
    private int _skipLeft;

    private async Task ReadAsync()
    {
        var buffer = ArrayPool<byte>.Shared.Rent(ReadBufferSize);
        var start = 0;
        var end = 0;
        HboneException failure;
        try
        {
            while (true)
            {
                var read = await _transport.ReadAsync(buffer.AsMemory(end));
                if (read == 0)
                {
                    failure = new HboneException(HboneError.ConnectionLost, "the peer closed the connection");
                    break;
                }

                _keepAlive.OnFrame();
                end += read;
                start += Process(buffer.AsSpan(start, end - start), out var needed);
                FlushTouched();
                (start, end) = MakeRoom(ref buffer, start, end, needed);
            }
        }
        catch (Http2ConnectionException e)
        {
            _logger.ProtocolBroken(Id, e.Code, e.Message);
            failure = new HboneException(HboneError.ProtocolError, $"the peer broke the protocol ({e.Code}): {e.Message}") { Code = e.Code };
            Close(e.Code, failure);
            await WaitForWriterAsync();
        }
        catch (Exception e)
        {
            failure = new HboneException(HboneError.ConnectionLost, $"the connection was lost: {e.Message}", e);
        }

        ArrayPool<byte>.Shared.Return(buffer);
        Finish(failure);
    }

    // What is left over moves to the front; a frame that does not fit gets a larger buffer, of a size that Process has bounded.
    private static (int Start, int End) MakeRoom(ref byte[] buffer, int start, int end, int needed)
    {
        if (start == end)
        {
            return (0, 0);
        }

        var rest = buffer.AsSpan(start, end - start);
        if (needed > buffer.Length)
        {
            var larger = ArrayPool<byte>.Shared.Rent(needed);
            rest.CopyTo(larger);
            ArrayPool<byte>.Shared.Return(buffer);
            buffer = larger;
        }
        else if (start + needed > buffer.Length || end == buffer.Length)
        {
            rest.CopyTo(buffer);
        }
        else
        {
            return (start, end);
        }

        return (0, end - start);
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
            FailInbound(stream, stream.Id == 0 ? Unprocessed() : failure);
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
    private int Process(ReadOnlySpan<byte> source, out int needed)
    {
        var taken = 0;
        needed = FrameHeader.Size;
        while (true)
        {
            var rest = source[taken..];
            if (_dataLeft + _paddingLeft > 0)
            {
                if (rest.IsEmpty)
                {
                    return taken;
                }

                taken += ReadData(rest);
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

    private int BeginData(in FrameHeader header, ReadOnlySpan<byte> rest)
    {
        Require(header.StreamId != 0, "DATA on stream 0");
        var padding = 0;
        var prefix = 0;
        if (header.Has(FrameFlags.Padded))
        {
            Require(header.Length > 0, "padded DATA without a pad length");
            prefix = 1;
            padding = rest[0];
            Require(padding < header.Length, "the padding of DATA is longer than its payload");
        }

        _dataStream = AdmitData(header);
        _dataLeft = header.Length - prefix - padding;
        _paddingLeft = padding;
        _dataEndsStream = header.Has(FrameFlags.EndStream);
        if (prefix + padding > 0)
        {
            Discard(_dataStream, prefix + padding);
        }

        if (_dataLeft + _paddingLeft == 0)
        {
            EndData();
        }

        return prefix;
    }

    // Takes the frame from both windows; null when its stream is closed and the octets are to be dropped.
    private Http2Stream? AdmitData(in FrameHeader header)
    {
        lock (_gate)
        {
            if (!_receiveWindow.TryTake(header.Length))
            {
                throw new Http2ConnectionException(
                    Http2ErrorCode.FlowControlError, $"DATA of {header.Length} octets is over the window of the connection, {_receiveWindow.Available}");
            }

            if (!_streams.TryGetValue(header.StreamId, out var stream))
            {
                RequireKnown_NeedsLock(header.StreamId, FrameType.Data);
                return null;
            }

            if (stream.RemoteClosed)
            {
                throw new Http2ConnectionException(Http2ErrorCode.StreamClosed, $"DATA on stream {header.StreamId} behind its end");
            }

            if (!stream.ReceiveWindow.TryTake(header.Length))
            {
                throw new Http2ConnectionException(
                    Http2ErrorCode.FlowControlError, $"DATA of {header.Length} octets is over the window of stream {header.StreamId}, {stream.ReceiveWindow.Available}");
            }

            return stream;
        }
    }

    private int ReadData(ReadOnlySpan<byte> rest)
    {
        var taken = 0;
        if (_dataLeft > 0)
        {
            taken = Math.Min(_dataLeft, rest.Length);
            _dataLeft -= taken;
            Deliver(_dataStream, rest[..taken]);
        }
        else
        {
            taken = Math.Min(_paddingLeft, rest.Length);
            _paddingLeft -= taken;
        }

        if (_dataLeft + _paddingLeft == 0)
        {
            EndData();
        }

        return taken;
    }

    private void Deliver(Http2Stream? stream, ReadOnlySpan<byte> octets)
    {
        if (stream is null || !CountUnread(stream, octets.Length))
        {
            Discard(null, octets.Length);
            return;
        }

        lock (stream.InboundGate)
        {
            if (stream.InboundFinished)
            {
                return;
            }

            var writer = stream.Inbound.Writer;
            octets.CopyTo(writer.GetSpan(octets.Length));
            writer.Advance(octets.Length);
        }

        if (!stream.InboundTouched)
        {
            stream.InboundTouched = true;
            _touched.Add(stream);
        }
    }

    private bool CountUnread(Http2Stream stream, int count)
    {
        lock (_gate)
        {
            if (stream.InputReleased)
            {
                return false;
            }

            stream.Unread += count;
            return true;
        }
    }

    // Octets that no application will read are credited at once: to the connection, and to their stream while it lives.
    private void Discard(Http2Stream? stream, int count)
    {
        lock (_gate)
        {
            Credit_NeedsLock(count);
            if (stream is not null)
            {
                stream.PendingCredit += count;
                Enqueue_NeedsLock(stream);
            }
        }
    }

    private void EndData()
    {
        var stream = _dataStream;
        _dataStream = null;
        if (stream is not null && _dataEndsStream)
        {
            EndInbound(stream);
        }
    }

    // The peer sends no more on this stream.
    private void EndInbound(Http2Stream stream)
    {
        lock (_gate)
        {
            CloseRemote_NeedsLock(stream);
        }

        CompleteInbound(stream, null);
    }

    private static void CompleteInbound(Http2Stream stream, HboneException? failure)
    {
        lock (stream.InboundGate)
        {
            if (!stream.InboundFinished)
            {
                stream.InboundFinished = true;
                stream.Inbound.Writer.Complete(failure);
            }
        }
    }

    private static void FailInbound(Http2Stream stream, HboneException failure)
    {
        stream.Response.TrySetException(failure);
        _ = stream.Response.Task.Exception;
        CompleteInbound(stream, failure);
    }

    // Once per read, however many frames it held: wakes the applications and the writer.
    private void FlushTouched()
    {
        foreach (var stream in _touched)
        {
            stream.InboundTouched = false;
            lock (stream.InboundGate)
            {
                if (!stream.InboundFinished)
                {
                    Observe(stream.Inbound.Writer.FlushAsync());
                }
            }
        }

        _touched.Clear();
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

    // The pipe has no threshold (flow control is the bound), so its flush never waits.
    private static void Observe(ValueTask<FlushResult> flush)
    {
        if (!flush.IsCompletedSuccessfully)
        {
            throw new UnreachableException("a pipe without a threshold made its writer wait");
        }
    }

    private void OnHeaders(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        Require(header.StreamId != 0, "HEADERS on stream 0");
        var padding = 0;
        if (header.Has(FrameFlags.Padded))
        {
            Require(payload.Length > 0, "padded HEADERS without a pad length");
            padding = payload[0];
            payload = payload[1..];
        }

        if (header.Has(FrameFlags.Priority))
        {
            const int PriorityFields = 5;
            Require(payload.Length >= PriorityFields, "HEADERS too short for its priority");
            payload = payload[PriorityFields..];
        }

        Require(padding <= payload.Length, "the padding of HEADERS is longer than its payload");
        _block.ResetWrittenCount();
        _block.Write(payload[..^padding]);
        _continuingEndsStream = header.Has(FrameFlags.EndStream);
        if (header.Has(FrameFlags.EndHeaders))
        {
            OnHeaderBlock(header.StreamId);
        }
        else
        {
            _continuing = header.StreamId;
        }
    }

    private void OnContinuation(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        Require(_continuing != 0, "CONTINUATION without HEADERS");

        // An empty one that does not end the block serves nobody but an attacker.
        if (_block.WrittenCount + payload.Length > _maxHeaderListSize + HeaderBlockSlack || (payload.IsEmpty && !header.Has(FrameFlags.EndHeaders)))
        {
            throw new Http2ConnectionException(Http2ErrorCode.EnhanceYourCalm, "a header block that does not end");
        }

        _block.Write(payload);
        if (header.Has(FrameFlags.EndHeaders))
        {
            _continuing = 0;
            OnHeaderBlock(header.StreamId);
        }
    }

    private void OnHeaderBlock(int streamId)
    {
        var fields = new List<HeaderField>();
        bool complete;
        try
        {
            complete = _decoder.Decode(_block.WrittenSpan, fields);
        }
        catch (HpackException e)
        {
            throw new Http2ConnectionException(Http2ErrorCode.CompressionError, e.Message);
        }

        Http2Stream? stream;
        lock (_gate)
        {
            stream = _streams.GetValueOrDefault(streamId);
        }

        if (stream is not null)
        {
            OnFurtherHeaders(stream, fields, complete);
        }
        else if (_isServer)
        {
            OnRequest(streamId, fields, complete);
        }
        else
        {
            lock (_gate)
            {
                RequireKnown_NeedsLock(streamId, FrameType.Headers);
            }
        }
    }

    private void OnRequest(int streamId, List<HeaderField> fields, bool complete)
    {
        Require(streamId % 2 == 1, $"a client opened stream {streamId}, which is even");
        var stream = new Http2Stream(this, streamId, _options.StreamWindowSize) { RequestHeaders = fields };
        var fault = complete ? ConnectRequest.Fault(fields) : Http2ErrorCode.EnhanceYourCalm;
        lock (_gate)
        {
            if (streamId <= _lastPeerStreamId)
            {
                // A stream that has ended: trailers that crossed our reset. Decoded for the table's sake, and dropped.
                return;
            }

            _lastPeerStreamId = streamId;
            fault ??= _draining || _active >= _options.MaxConcurrentStreams ? Http2ErrorCode.RefusedStream : null;
            if (fault is { } code)
            {
                FrameWriter.WriteRstStream(_control, streamId, code);
                return;
            }

            _lastProcessedStreamId = streamId;
            stream.SendWindow = new FlowWindow(_peer.InitialWindowSize);
            stream.Counted = true;
            _active++;
            _streams.Add(streamId, stream);
        }

        if (_continuingEndsStream)
        {
            EndInbound(stream);
        }

        _onRequest?.Invoke(stream);
    }

    // On a client the response, then trailers; on a server trailers only.
    private void OnFurtherHeaders(Http2Stream stream, List<HeaderField> fields, bool complete)
    {
        bool response;
        lock (_gate)
        {
            if (stream.RemoteClosed)
            {
                throw new Http2ConnectionException(Http2ErrorCode.StreamClosed, $"HEADERS on stream {stream.Id} behind its end");
            }

            response = !_isServer && !stream.ResponseSeen;
        }

        if (response)
        {
            var status = fields.Count > 0 && fields[0].Name == ":status" ? fields[0].Value : null;
            if (!complete || status is not { Length: 3 } || !int.TryParse(status, out _) || !ConnectRequest.AreFieldsValid(fields))
            {
                Abort(stream, Http2ErrorCode.ProtocolError, "a malformed response");
                return;
            }

            if (status[0] == '1' && !_continuingEndsStream)
            {
                return;
            }

            lock (_gate)
            {
                stream.ResponseSeen = true;
            }

            stream.Response.TrySetResult(fields);
        }
        else if (!_continuingEndsStream)
        {
            // Trailers end a stream (RFC 9113, section 8.1).
            Abort(stream, Http2ErrorCode.ProtocolError, "trailers that do not end the stream");
            return;
        }

        if (_continuingEndsStream)
        {
            EndInbound(stream);
        }
    }

    private void OnRstStream(int streamId, Http2ErrorCode code)
    {
        Require(streamId != 0, "RST_STREAM on stream 0");
        Http2Stream? stream;
        lock (_gate)
        {
            if (!_streams.TryGetValue(streamId, out stream))
            {
                RequireKnown_NeedsLock(streamId, FrameType.RstStream);
                return;
            }

            CloseBoth_NeedsLock(stream);
            Enqueue_NeedsLock(stream);
        }

        var refused = code is Http2ErrorCode.RefusedStream;
        var failure = new HboneException(refused ? HboneError.Unprocessed : HboneError.Reset, $"the peer reset the tunnel ({code})") { Code = code };
        stream.Response.TrySetException(failure);
        _ = stream.Response.Task.Exception;

        // ztunnel §2.8: these end the octets as a FIN does.
        var benign = code is Http2ErrorCode.NoError or Http2ErrorCode.Cancel;
        CompleteInbound(stream, benign ? null : failure);
        stream.SignalReset();
    }

    private void OnSettings(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        Require(header.StreamId == 0, "SETTINGS on a stream");
        if (header.Has(FrameFlags.Ack))
        {
            if (payload.Length != 0)
            {
                throw new Http2ConnectionException(Http2ErrorCode.FrameSizeError, "an acknowledgement of SETTINGS with a payload");
            }

            return;
        }

        _settingsSeen = true;
        lock (_gate)
        {
            var windowBefore = _peer.InitialWindowSize;
            if (_peer.Apply(payload) is { } error)
            {
                throw new Http2ConnectionException(error, "SETTINGS with a value that is not allowed");
            }

            foreach (var stream in _streams.Values)
            {
                if (!stream.SendWindow.TryAdd(_peer.InitialWindowSize - windowBefore))
                {
                    throw new Http2ConnectionException(Http2ErrorCode.FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large");
                }

                if (_peer.InitialWindowSize > windowBefore)
                {
                    Enqueue_NeedsLock(stream);
                }
            }

            FrameWriter.WriteSettingsAck(_control);
        }

        _ready.TrySetResult();
    }

    private void OnPing(in FrameHeader header, ulong opaque)
    {
        Require(header.StreamId == 0, "PING on a stream");
        lock (_gate)
        {
            if (!header.Has(FrameFlags.Ack))
            {
                FrameWriter.WritePing(_control, opaque, ack: true);
            }
            else if (opaque == DrainPing)
            {
                // Every request that was on its way when we began to drain is here now.
                EndDrainAnnouncement_NeedsLock();
            }
        }
    }

    private void OnGoAway(int lastStreamId, Http2ErrorCode code)
    {
        var unprocessed = new List<Http2Stream>();
        lock (_gate)
        {
            _draining = true;
            if (!_isServer)
            {
                unprocessed.AddRange(_streams.Values.Where(stream => stream.Id > lastStreamId));
                foreach (var stream in unprocessed)
                {
                    CloseBoth_NeedsLock(stream);
                    Enqueue_NeedsLock(stream);
                }
            }

            CloseIfDrained_NeedsLock();
        }

        _logger.GoAwayReceived(Id, code, lastStreamId);
        foreach (var stream in unprocessed)
        {
            FailInbound(stream, new HboneException(HboneError.Unprocessed, $"the peer is going away ({code}) and did not process the request") { Code = code });
        }
    }

    private void OnWindowUpdate(int streamId, int increment)
    {
        lock (_gate)
        {
            if (streamId == 0)
            {
                Require(increment > 0, "WINDOW_UPDATE of the connection by nothing");
                if (!_sendWindow.TryAdd(increment))
                {
                    throw new Http2ConnectionException(Http2ErrorCode.FlowControlError, "WINDOW_UPDATE makes the window of the connection too large");
                }

                while (_blockedByConnection.First is { Value: var blocked })
                {
                    Unblock_NeedsLock(blocked);
                    Enqueue_NeedsLock(blocked);
                }

                return;
            }

            if (!_streams.TryGetValue(streamId, out var stream))
            {
                RequireKnown_NeedsLock(streamId, FrameType.WindowUpdate);
                return;
            }

            if (increment == 0 || !stream.SendWindow.TryAdd(increment))
            {
                Reset_NeedsLock(stream, increment == 0 ? Http2ErrorCode.ProtocolError : Http2ErrorCode.FlowControlError, "a WINDOW_UPDATE by nothing, or by too much");
            }

            Enqueue_NeedsLock(stream);
        }
    }

    // A frame for a stream that was never opened costs the connection; for one that has ended it is just late.
    private void RequireKnown_NeedsLock(int streamId, FrameType type)
    {
        var known = streamId % 2 == 1 && (_isServer ? streamId <= _lastPeerStreamId : streamId < _nextStreamId);
        Require(known, $"{type} on stream {streamId}, which is idle");
    }

    private static void Require(bool condition, string fault)
    {
        if (!condition)
        {
            throw new Http2ConnectionException(Http2ErrorCode.ProtocolError, fault);
        }
    }
}
