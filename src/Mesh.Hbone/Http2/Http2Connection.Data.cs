namespace Mesh.Hbone.Http2;

/// <summary>DATA as it comes in (RFC 9113, section 6.1): admitted by the windows, handed to its stream in whatever pieces it comes.</summary>
internal sealed partial class Http2Connection
{
    // The DATA frame that is being read: payload and padding still to come, and whose it is (null: nobody's any more).
    private int _dataLeft;
    private int _paddingLeft;
    private int _lastDataLength;
    private bool _dataEndsStream;
    private Http2Stream? _dataStream;

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

        if (header.Length == prefix + padding && !header.Has(FrameFlags.EndStream))
        {
            _floods.Charge(FloodBudget.IdleFrame, "DATA without data");
        }

        _floods.Fund(header.Length);
        _dataStream = AdmitData(header);
        _dataLeft = header.Length - prefix - padding;
        _lastDataLength = header.Length;
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
                // What was on its way when the stream ended pays for itself, unless it comes in crumbs.
                RequireKnown_NeedsLock(header.StreamId, FrameType.Data);
                _floods.Charge(FloodBudget.IdleFrame, "DATA for streams that have ended");
                return null;
            }

            if (stream.RemoteClosed)
            {
                throw new Http2ConnectionException(Http2ErrorCode.StreamClosed, $"DATA on stream {header.StreamId} behind its end");
            }

            if (!_isServer && !stream.ResponseSeen)
            {
                _floods.Charge(FloodBudget.StreamFault, "DATA in place of a response");
                Reset_NeedsLock(stream, Http2ErrorCode.ProtocolError, "DATA in place of a response");
                Enqueue_NeedsLock(stream);
                return null;
            }

            if (!stream.ReceiveWindow.TryTake(header.Length))
            {
                throw new Http2ConnectionException(
                    Http2ErrorCode.FlowControlError, $"DATA of {header.Length} octets is over the window of stream {header.StreamId}, {stream.ReceiveWindow.Available}");
            }

            return stream;
        }
    }

    private int ReadData(ReadOnlyMemory<byte> rest)
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

    private void Deliver(Http2Stream? stream, ReadOnlyMemory<byte> octets)
    {
        if (stream is null || !CountUnread(stream, octets.Length))
        {
            Discard(null, octets.Length);
            return;
        }

        if (!stream.Input.TryAppend(_readBuffer!, octets))
        {
            return;
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

        stream.Input.End(null);
    }
}
