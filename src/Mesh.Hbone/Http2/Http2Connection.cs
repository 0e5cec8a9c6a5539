using Mesh.Hbone.Http2.Hpack;
using Mesh.Hbone.Transport;
using Microsoft.Extensions.Logging;

namespace Mesh.Hbone.Http2;

/// <summary>One HTTP/2 connection, either end, as far as CONNECT needs it (RFC 9113).</summary>
/// <remarks>
/// <list type="number">
/// <item>One reader: it takes octets from the transport, and hands DATA to the streams and the rest to the state.</item>
/// <item>One writer at a time: whoever has something to send puts a stream in the queue, and, when nobody is writing, writes. The queue is fair:
/// a stream that has more goes to its end. Several frames go out in one write.</item>
/// <item>One lock for the state, never held while reading, writing or waiting.</item>
/// </list>
/// Reading never waits for writing: a peer that reads only when it has written does not hang us.
/// </remarks>
internal sealed partial class Http2Connection : IAsyncDisposable
{
    private static readonly TimeSpan GoAwayGrace = TimeSpan.FromSeconds(2);

    // How long a peer may take nothing from a tunnel that the application has closed; that of orphaned sockets.
    private static readonly TimeSpan LingerTimeout = TimeSpan.FromSeconds(60);
    private static long _lastConnectionId;

    private readonly Lock _gate = new();
    private readonly Stream _transport;
    private readonly IPolledReader? _polled;
    private readonly bool _isServer;
    private readonly HboneOptions _options;
    private readonly int _maxHeaderListSize;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Action<Http2Stream>? _onRequest;
    private readonly KeepAlive _keepAlive;
    private readonly FloodBudget _floods;
    private readonly LoadMeter _readLoad;
    private readonly LoadMeter _writeLoad;
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ITimer? _ticker;
    private Task? _reading;

    // Guarded by _gate.
    private readonly Dictionary<int, Http2Stream> _streams = [];
    private readonly PeerSettings _peer = new();
    private FlowWindow _sendWindow = new(FlowWindow.Default);
    private FlowWindow _receiveWindow;
    private int _pendingCredit;
    private int _active;
    private int _nextStreamId = 1;
    private int _lastPeerStreamId;
    private int _lastProcessedStreamId;
    private bool _drainAnnounced;
    private HboneException? _failure;
    private bool _draining;
    private bool _closing;

    /// <summary>Prepares a connection over a transport, which it owns from now on.</summary>
    /// <param name="transport">The octets both ways; already inside TLS.</param>
    /// <param name="isServer">Which end we are.</param>
    /// <param name="options">Windows, limits and times.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it speaks.</param>
    /// <param name="onRequest">On a server: takes each new stream. Runs on the reader; must not block.</param>
    public Http2Connection(Stream transport, bool isServer, HboneOptions options, TimeProvider time, ILogger logger, Action<Http2Stream>? onRequest = null)
    {
        _transport = transport;
        _polled = transport as IPolledReader;
        _wakeWriter = _writeSignal.Set;
        _isServer = isServer;
        _options = options;
        _maxHeaderListSize = isServer ? options.MaxHeaderListSize : options.MaxHeaderListSize / 4;
        _time = time;
        _logger = logger;
        _onRequest = onRequest;
        _keepAlive = new KeepAlive(options.KeepAliveInterval, options.KeepAliveTimeout, time);
        _floods = new FloodBudget(time);
        _readLoad = new LoadMeter(time);
        _writeLoad = new LoadMeter(time);
        _receiveWindow = new FlowWindow(options.ConnectionWindowSize);
        _decoder = new HpackDecoder(HpackEncoder.MaxTableSize, _maxHeaderListSize);
    }

    public long Id { get; } = Interlocked.Increment(ref _lastConnectionId);

    /// <summary>What polls the socket under the connection; null when nothing of ours does.</summary>
    public EventLoop? Loop => (_transport as TlsStream)?.Loop;

    /// <summary>Completes when the peer has sent its settings; fails when the connection is lost before.</summary>
    public Task Ready => _ready.Task;

    /// <summary>Completes when the connection is gone, for whatever reason.</summary>
    public Task Closed => _closed.Task;

    /// <summary>Why the connection was lost; null while it is not.</summary>
    public HboneException? Failure
    {
        get
        {
            lock (_gate)
            {
                return _failure;
            }
        }
    }

    /// <summary>Told, again and again, while the connection carries so much that it may be the bottleneck. Set it before the connection is used; must not block.</summary>
    public Action? Busy { get; set; }

    /// <summary>How many streams are open.</summary>
    public int ActiveStreams
    {
        get
        {
            lock (_gate)
            {
                return _active;
            }
        }
    }

    /// <summary>How many streams wait for the window of the connection.</summary>
    public int BlockedStreams
    {
        get
        {
            lock (_gate)
            {
                return _blockedByConnection.Count;
            }
        }
    }

    /// <summary>Whether new streams can be opened, now or when others have ended.</summary>
    public bool IsUsable
    {
        get
        {
            lock (_gate)
            {
                return !_draining && !_closing && _failure is null && _peer.MaxConcurrentStreams > 0;
            }
        }
    }

    /// <summary>Sends our preface and settings, and begins to read.</summary>
    public void Start()
    {
        lock (_gate)
        {
            if (!_isServer)
            {
                Preface.CopyTo(_control.GetSpan(Preface.Length));
                _control.Advance(Preface.Length);
            }

            FrameWriter.WriteSettings(
                _control,
                (Http2Setting.InitialWindowSize, (uint)_options.StreamWindowSize),
                (Http2Setting.MaxFrameSize, (uint)_options.MaxFrameSize),
                (Http2Setting.MaxHeaderListSize, (uint)_maxHeaderListSize),
                _isServer ? (Http2Setting.MaxConcurrentStreams, (uint)_options.MaxConcurrentStreams) : (Http2Setting.EnablePush, 0u));
            if (_options.ConnectionWindowSize > FlowWindow.Default)
            {
                FrameWriter.WriteWindowUpdate(_control, 0, _options.ConnectionWindowSize - FlowWindow.Default);
            }
        }

        // A quarter of the shorter time is as exact as liveness needs to be.
        var tick = (_options.KeepAliveInterval < _options.KeepAliveTimeout ? _options.KeepAliveInterval : _options.KeepAliveTimeout) / 4;
        _ticker = _time.CreateTimer(static state => ((Http2Connection)state!).OnTick(), this, tick, tick);
        using (ExecutionContext.SuppressFlow())
        {
            // Nothing of whoever happens to connect goes with the connection.
            _ = Task.Run(WriteAsync);
            _reading = Task.Run(ReadAsync);
        }

        ScheduleWrite();
    }

    /// <summary>Opens a stream with a request, as a client; null when the connection has no room, or takes no new streams. Call <see cref="Flush"/> then.</summary>
    /// <param name="request">The header fields, pseudo-headers first.</param>
    /// <param name="limit">Our own limit of concurrent streams; that of the peer counts too.</param>
    public Http2Stream? TryOpenStream(IReadOnlyList<HeaderField> request, int limit)
    {
        var stream = new Http2Stream(this, 0, _options) { PendingHeaders = request, Counted = true };
        lock (_gate)
        {
            if (!HasRoom_NeedsLock(limit))
            {
                return null;
            }

            _active++;
            Enqueue_NeedsLock(stream);
        }

        return stream;
    }

    /// <summary>Answers a request, as a server.</summary>
    public void Respond(Http2Stream stream, IReadOnlyList<HeaderField> response, bool endStream)
    {
        lock (_gate)
        {
            stream.PendingHeaders = response;
            stream.EndWithHeaders = endStream;
        }

        Send(stream);
    }

    /// <summary>Takes no new streams, lets the open ones finish and then closes (RFC 9113, section 6.8).</summary>
    /// <returns>Completes when the connection is gone.</returns>
    public Task DrainAsync()
    {
        lock (_gate)
        {
            if (_draining || _closing || _drainAnnounced)
            {
                return Closed;
            }

            if (_isServer)
            {
                // First announced without a last stream, for requests are on their way; the PING comes back behind them.
                _drainAnnounced = true;
                FrameWriter.WriteGoAway(_control, int.MaxValue, Http2ErrorCode.NoError);
                FrameWriter.WritePing(_control, DrainPing, ack: false);
                _ = EndDrainAnnouncementAsync();
            }
            else
            {
                _draining = true;
                CloseIfDrained_NeedsLock();
            }
        }

        ScheduleWrite();
        return Closed;
    }

    /// <summary>Sends what <see cref="TryOpenStream"/> has queued.</summary>
    public void Flush() => ScheduleWrite();

    /// <summary>Ends the connection now: GOAWAY as far as the transport takes it, then nothing.</summary>
    public void Close(Http2ErrorCode code, HboneException failure)
    {
        lock (_gate)
        {
            if (_closing)
            {
                return;
            }

            _failure ??= failure;
            Close_NeedsLock(code);
        }

        ScheduleWrite();
        _ = CutAfterGraceAsync();
    }

    /// <summary>Closes, and waits until nothing of the connection runs any more.</summary>
    public async ValueTask DisposeAsync()
    {
        Close(Http2ErrorCode.NoError, new HboneException(HboneError.Aborted, "the connection was closed on this side"));
        if (_reading is { } reading)
        {
            await reading;
        }
    }

    // A peer that does not answer our PING is told all the same.
    private async Task EndDrainAnnouncementAsync()
    {
        await Closed.WaitAsync(GoAwayGrace, _time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_gate)
        {
            EndDrainAnnouncement_NeedsLock();
        }

        ScheduleWrite();
    }

    private void EndDrainAnnouncement_NeedsLock()
    {
        if (_drainAnnounced && !_draining && !_closing)
        {
            _draining = true;
            FrameWriter.WriteGoAway(_control, _lastProcessedStreamId, Http2ErrorCode.NoError);
            CloseIfDrained_NeedsLock();
        }
    }

    private void CloseIfDrained_NeedsLock()
    {
        // On a client, streams that are counted but not sent yet have no identifier.
        if (_draining && !_closing && _streams.Count == 0 && (_isServer || _active == 0))
        {
            _failure ??= new HboneException(HboneError.Unprocessed, "the connection was drained");
            Close_NeedsLock(Http2ErrorCode.NoError);
        }
    }

    private void Close_NeedsLock(Http2ErrorCode code)
    {
        _draining = true;
        _closing = true;
        FrameWriter.WriteGoAway(_control, _lastProcessedStreamId, code);
    }

    private void OnTick()
    {
        ResetLingering();
        (_transport as TlsStream)?.ReleaseIfIdle();
        switch (_keepAlive.OnTick())
        {
            case KeepAliveAction.SendPing:
                lock (_gate)
                {
                    FrameWriter.WritePing(_control, KeepAlivePing, ack: false);
                }

                ScheduleWrite();
                break;
            case KeepAliveAction.CloseConnection:
                _logger.PeerDead(Id, _options.KeepAliveTimeout, ActiveStreams);
                Close(Http2ErrorCode.NoError, new HboneException(HboneError.ConnectionLost, $"the peer did not answer a PING within {_options.KeepAliveTimeout}"));
                CutTransport();
                break;
            default:
                ScheduleWrite();
                break;
        }
    }

    // The peer may not read our GOAWAY; it does not get to keep the connection that way.
    private async Task CutAfterGraceAsync()
    {
        try
        {
            await Closed.WaitAsync(GoAwayGrace, _time);
        }
        catch (TimeoutException)
        {
            CutTransport();
        }
    }

    private void CutTransport() => _transport.Dispose();

    private bool HasRoom_NeedsLock(int limit) =>
        !_draining && !_closing && _failure is null && _active < Math.Min((uint)limit, _peer.MaxConcurrentStreams);

    private static HboneException GivenUp() => new(HboneError.Aborted, "the tunnel was given up on this side");

    private HboneException Unprocessed() => new(HboneError.Unprocessed, "the connection takes no new tunnels", _failure);
}
