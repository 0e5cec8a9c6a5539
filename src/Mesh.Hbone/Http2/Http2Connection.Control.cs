namespace Mesh.Hbone.Http2;

/// <summary>What the frames do that carry neither data nor headers (RFC 9113, sections 6.4 to 6.9).</summary>
internal sealed partial class Http2Connection
{
    private void OnRstStream(int streamId, Http2ErrorCode code)
    {
        Require(streamId != 0, "RST_STREAM on stream 0");
        Http2Stream? stream;
        bool wasted;
        lock (_gate)
        {
            if (!_streams.TryGetValue(streamId, out stream))
            {
                RequireKnown_NeedsLock(streamId, FrameType.RstStream);
                _floods.Charge(FloodBudget.IdleFrame, "RST_STREAM");
                return;
            }

            wasted = _isServer && !stream.Answered;
            CloseBoth_NeedsLock(stream);
            Enqueue_NeedsLock(stream);
        }

        var refused = code is Http2ErrorCode.RefusedStream;
        var failure = new HboneException(refused ? HboneError.Unprocessed : HboneError.Reset, $"the peer reset the tunnel ({code})") { Code = code };
        stream.FailResponse(failure);

        // ztunnel §2.8: these end the octets as a FIN does.
        var benign = code is Http2ErrorCode.NoError or Http2ErrorCode.Cancel;
        stream.Input.End(benign ? null : failure);
        stream.SignalReset();
        if (wasted)
        {
            _floods.Charge(FloodBudget.WastedRequest, "requests that are given up at once");
        }
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

            _floods.Charge(FloodBudget.IdleFrame, "acknowledgements of SETTINGS");
            return;
        }

        _settingsSeen = true;
        _floods.Charge(FloodBudget.Settings, "SETTINGS");
        lock (_gate)
        {
            var windowBefore = _peer.InitialWindowSize;
            if (_peer.Apply(payload, fromServer: !_isServer) is { } error)
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
        _floods.Charge(FloodBudget.IdleFrame, "PING");
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
        _floods.Charge(FloodBudget.IdleFrame, "GOAWAY");
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
            stream.FailInbound(new HboneException(HboneError.Unprocessed, $"the peer is going away ({code}) and did not process the request") { Code = code });
        }
    }

    private void OnWindowUpdate(int streamId, int increment)
    {
        _floods.Charge(FloodBudget.WindowUpdate, "WINDOW_UPDATE");
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
                _floods.Charge(FloodBudget.StreamFault, "WINDOW_UPDATE that is wrong");
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
