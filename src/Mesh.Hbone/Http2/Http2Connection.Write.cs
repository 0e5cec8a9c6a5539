using System.Runtime.CompilerServices;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone.Http2;

/// <summary>The writing half: one writer at a time, several frames in one write.</summary>
internal sealed partial class Http2Connection
{
    // One write carries up to this, frame headers included: four full TLS records, one system call.
    internal const int BatchSize = 64 * 1024;

    // Two mebibytes in a row; then others have their turn.
    private const int BatchesInARow = 32;

    // A peer that makes us answer but does not read the answers (floods of PING or SETTINGS) is cut off here.
    private const int MaxControlBacklog = 64 * 1024;

    // Written by the one writer.
    private readonly OutputBuffer _batch = new();

    // The frame that ends the batch, in the memory of its stream; null when there is none.
    private Http2Stream? _inPlaceStream;
    private ReadOnlyMemory<byte> _inPlace;

    // Guarded by _gate.
    private readonly OutputBuffer _control = new();
    private readonly Queue<Http2Stream> _sendQueue = new();
    private readonly LinkedList<Http2Stream> _blockedByConnection = new();
    private bool _sendingClosed;

    // How often somebody had something to send since the writer last looked; above zero while it is at work.
    private int _writeSignals;
    private readonly WriteSignal _writeSignal = new();
    private readonly Action _wakeWriter;

    /// <summary>Puts a stream in the queue and sees that somebody writes.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="now">Whether it has so much that waiting for others gains nothing.</param>
    public void Send(Http2Stream stream, bool now = false)
    {
        lock (_gate)
        {
            Enqueue_NeedsLock(stream);
        }

        ScheduleWrite(now);
    }

    private void Enqueue_NeedsLock(Http2Stream stream)
    {
        if (!stream.Queued)
        {
            stream.Queued = true;
            _sendQueue.Enqueue(stream);
        }
    }

    private void ScheduleWrite(bool now = false)
    {
        if (Interlocked.Increment(ref _writeSignals) != 1)
        {
            return;
        }

        if (!now && EventLoop.Current is { } loop)
        {
            // What other sockets have for this connection goes out with it.
            loop.AtEndOfTurn(_wakeWriter);
            return;
        }

        _writeSignal.Set();
    }

    // Lives as long as the connection; nothing but the signal wakes it.
    private async Task WriteAsync()
    {
        while (true)
        {
            await _writeSignal.WaitAsync().ConfigureAwait(false);

            // Before the count falls to zero: from then on it may be set again.
            _writeSignal.Reset();
            int seen;
            do
            {
                seen = Volatile.Read(ref _writeSignals);
                try
                {
                    for (var batches = 1; Compose(); batches++)
                    {
                        await WriteBatchAsync().ConfigureAwait(false);
                        if (batches % BatchesInARow == 0)
                        {
                            // Whoever had something to send is not kept for what others have.
                            await EventLoop.YieldAsync();
                        }
                    }
                }
                catch (Exception e)
                {
                    // The reader sees the end of the transport and settles with the streams; here it only matters that nobody waits for us.
                    OnTransportFailed(e);
                }

                _batch.Release();
                await CloseSendingAsync().ConfigureAwait(false);
            }
            while (Interlocked.Add(ref _writeSignals, -seen) != 0);
        }
    }

    // One system call for both parts.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask WriteBatchAsync()
    {
        _floods.Fund(_batch.Length + _inPlace.Length);
        if (_writeLoad.Count(_batch.Length + _inPlace.Length))
        {
            Busy?.Invoke();
        }

        if (_transport is TlsStream tls)
        {
            await tls.WriteAsync(_batch.Written, _inPlace);
        }
        else
        {
            if (_batch.Length > 0)
            {
                await _transport.WriteAsync(_batch.Written);
            }

            if (!_inPlace.IsEmpty)
            {
                await _transport.WriteAsync(_inPlace);
            }
        }

        _batch.Clear();
        if (_inPlaceStream is { } stream)
        {
            _inPlaceStream = null;
            stream.Output.AdvanceTo(_inPlace.Length - FrameHeader.Size);
            _inPlace = default;
            if (IsLocalClosed(stream))
            {
                stream.Output.Close();
            }
        }
    }

    // The last thing sent is that nothing follows; the peer then closes, and the reader sees it.
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

        _ = CutAfterGraceAsync();
        try
        {
            if (_transport is TlsStream tls)
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
        _inPlaceStream = null;
        _inPlace = default;
        lock (_gate)
        {
            _failure ??= new HboneException(HboneError.ConnectionLost, $"the connection was lost while writing: {e.Message}", e);
            _draining = true;
            _closing = true;
            _control.Release();
        }

        CutTransport();
        CloseOutputs();
    }

    private void CloseOutputs()
    {
        while (Next() is { } stream)
        {
            stream.Output.Close();
            if (stream.Id == 0)
            {
                // Never sent, so nobody else knows of it; it may be tried again elsewhere.
                lock (_gate)
                {
                    CloseBoth_NeedsLock(stream);
                }

                stream.FailInbound(Unprocessed());
            }
        }
    }
}
