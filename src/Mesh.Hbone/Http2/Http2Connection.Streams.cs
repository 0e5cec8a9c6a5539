namespace Mesh.Hbone.Http2;

/// <summary>What the applications do with streams, and the life of a stream (RFC 9113, section 5.1).</summary>
internal sealed partial class Http2Connection
{
    /// <summary>Gives one stream up.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="code">What the peer is told.</param>
    /// <param name="fault">What the peer did wrong; null when it is us who give up.</param>
    public void Abort(Http2Stream stream, Http2ErrorCode code, string? fault = null)
    {
        lock (_gate)
        {
            if (stream.LocalClosed && stream.RemoteClosed)
            {
                return;
            }

            Reset_NeedsLock(stream, code, fault);
        }

        // Whoever reads learns it now, whatever the writer waits for.
        stream.FailInbound(stream.ResetReason ?? GivenUp());
        Send(stream);
    }

    /// <summary>The application has read from a stream: the peer may send as much again.</summary>
    public void Consumed(Http2Stream stream, int count)
    {
        bool sendStream;
        bool sendConnection;
        lock (_gate)
        {
            if (stream.InputReleased)
            {
                return;
            }

            stream.Unread -= count;
            stream.PendingCredit += count;
            sendStream = !stream.RemoteClosed && stream.PendingCredit >= _options.StreamWindowSize / 2;
            sendConnection = Credit_NeedsLock(count);
        }

        if (sendStream)
        {
            Send(stream);
        }
        else if (sendConnection)
        {
            ScheduleWrite();
        }
    }

    /// <summary>The application reads no more from a stream. What came and was not read is given back to the connection.</summary>
    public void ReleaseInput(Http2Stream stream)
    {
        lock (_gate)
        {
            if (stream.InputReleased)
            {
                return;
            }

            stream.InputReleased = true;
            Release_NeedsLock(stream);
            Credit_NeedsLock(stream.Unread);
            stream.Unread = 0;
        }

        Send(stream);
    }

    /// <summary>The application writes no more to a stream.</summary>
    public void ReleaseOutput(Http2Stream stream)
    {
        lock (_gate)
        {
            stream.OutputReleased = true;
            stream.LastSent = _time.GetTimestamp();
            Release_NeedsLock(stream);
        }

        Send(stream);
    }

    private static void Reset_NeedsLock(Http2Stream stream, Http2ErrorCode code, string? fault)
    {
        if (stream.PendingReset is null)
        {
            stream.PendingReset = code;
            stream.ResetReason = fault is null ? null : new HboneException(HboneError.ProtocolError, $"the peer broke the protocol on this tunnel ({code}): {fault}") { Code = code };
        }
    }

    private void Unblock_NeedsLock(Http2Stream stream)
    {
        if (stream.BlockedByConnection is { } node)
        {
            _blockedByConnection.Remove(node);
            stream.BlockedByConnection = null;
        }
    }

    // The application has closed a tunnel, and its peer takes nothing of what is left: that does not hold the connection for ever.
    private void ResetLingering()
    {
        lock (_gate)
        {
            foreach (var stream in _streams.Values)
            {
                if (stream is { InputReleased: true, OutputReleased: true, LocalClosed: false } && _time.GetElapsedTime(stream.LastSent) > LingerTimeout)
                {
                    Reset_NeedsLock(stream, Http2ErrorCode.Cancel, fault: null);
                    Enqueue_NeedsLock(stream);
                }
            }
        }
    }

    // True when a WINDOW_UPDATE of the connection is due.
    private bool Credit_NeedsLock(int count)
    {
        _pendingCredit += count;
        if (_pendingCredit < _options.ConnectionWindowSize / 2 || _closing)
        {
            return false;
        }

        FrameWriter.WriteWindowUpdate(_control, 0, _pendingCredit);
        _receiveWindow.TryAdd(_pendingCredit);
        _pendingCredit = 0;
        return true;
    }

    // A stream stops counting when the protocol is done with it; on a server not before the application is, too,
    // or a peer that opens and resets could have any number of applications at work (CVE-2023-44487).
    private void Release_NeedsLock(Http2Stream stream)
    {
        var done = stream.LocalClosed && stream.RemoteClosed && (!_isServer || (stream.InputReleased && stream.OutputReleased));
        if (done && stream.Counted)
        {
            stream.Counted = false;
            _active--;
        }
    }

    private void CloseLocal_NeedsLock(Http2Stream stream)
    {
        stream.LocalClosed = true;
        Forget_NeedsLock(stream);
    }

    private void CloseRemote_NeedsLock(Http2Stream stream)
    {
        stream.RemoteClosed = true;
        Forget_NeedsLock(stream);
    }

    private void CloseBoth_NeedsLock(Http2Stream stream)
    {
        stream.LocalClosed = true;
        stream.RemoteClosed = true;
        Forget_NeedsLock(stream);
    }

    private void Forget_NeedsLock(Http2Stream stream)
    {
        if (stream.LocalClosed && stream.RemoteClosed)
        {
            Unblock_NeedsLock(stream);
            _streams.Remove(stream.Id);
            Release_NeedsLock(stream);
            CloseIfDrained_NeedsLock();
        }
    }
}
