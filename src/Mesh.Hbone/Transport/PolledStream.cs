using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;

namespace Mesh.Hbone.Transport;

/// <summary>The octets of a socket of an <see cref="EventLoop"/>. One reader and one writer at a time.</summary>
/// <remarks>
/// A read that brings less than was asked for has emptied the socket, so that nothing asks again before the next event (epoll(7), question 9). It is not so
/// with urgent data, before which a read stops, nor when the end has been told.
/// </remarks>
internal sealed class PolledStream : AsyncStream, IPolledStream, EventLoop.ITarget
{
    private readonly Socket _socket;
    private readonly Readiness _readable = new();
    private readonly Readiness _writable = new();

    // Guarded by a lock on _readable: one object less for each of many thousand connections.
    private EventLoop _loop;
    private long _id;
    private bool _disposed;

    // The end is told once, perhaps before what lies ahead of it has been read. Set, too, where a read may stop short of what there is.
    private volatile bool _mayHaveMore;

    /// <summary>Over a connected socket, which it owns from now on.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="loop">What polls it.</param>
    /// <exception cref="IOException">The system takes no more sockets; the socket is left to the caller then.</exception>
    public PolledStream(Socket socket, EventLoop loop)
        : this(NativeSocket.DoNotBlock(socket), loop, isConnecting: false)
    {
    }

    private PolledStream(Socket socket, EventLoop loop, bool isConnecting)
    {
        _socket = socket;
        if (isConnecting)
        {
            _writable.Clear();
        }

        _loop = loop;
        _id = _loop.Add(socket.SafeHandle, this);
    }

    /// <summary>What polls it.</summary>
    public EventLoop Loop => _loop;

    public bool IsReadable => _readable.IsSet;

    /// <summary>Connects a socket, which the result owns. The runtime would have a thread of its own woken for every event of a socket that it has connected.</summary>
    /// <exception cref="SocketException">It cannot be connected.</exception>
    public static async ValueTask<PolledStream> ConnectAsync(Socket socket, EventLoop loop, IPEndPoint remote, CancellationToken cancellationToken)
    {
        var connected = NativeSocket.TryConnect(NativeSocket.DoNotBlock(socket), remote);
        if (connected is null)
        {
            // Fails again, and says why.
            await socket.ConnectAsync(remote, cancellationToken);
        }

        var isConnecting = connected is false;
        var stream = new PolledStream(socket, loop, isConnecting);
        try
        {
            if (isConnecting)
            {
                await stream._writable.WaitAsync(cancellationToken);
                if (socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.Error) is int and not 0 and var error)
                {
                    throw new SocketException(error);
                }
            }

            return stream;
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    /// <summary>Has it polled by another loop, that of what it exchanges octets with: no other thread is woken for the one than for the other. It stays where it is when that loop takes no more.</summary>
    public void MoveTo(EventLoop loop)
    {
        lock (_readable)
        {
            if (_loop == loop || _disposed)
            {
                return;
            }

            try
            {
                // What there is to tell is told again, so that nothing is lost in between.
                var (before, idBefore) = (_loop, _id);
                _id = loop.Add(_socket.SafeHandle, this);
                _loop = loop;
                before.Remove(idBefore, _socket.SafeHandle);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // Whoever reads or writes finds out whether it was closed.
            }
        }
    }

    /// <summary>Closes the socket at once, with RST.</summary>
    public void Abort() => Close(static socket => socket.Close(timeout: 0));

    public ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken) => _readable.WaitAsync(cancellationToken);

    public bool TryRead(Span<byte> buffer, out int count)
    {
        if (!_readable.IsSet)
        {
            count = 0;
            return false;
        }

        _readable.Clear();
        int error;
        try
        {
            count = NativeSocket.Receive(_socket, buffer, out error);
        }
        catch (ObjectDisposedException)
        {
            // For whoever asks again.
            _readable.Set();
            throw SocketStream.LostBy(SocketError.OperationAborted);
        }

        if (error == NativeSocket.WouldBlock)
        {
            return false;
        }

        if (count == buffer.Length || count == 0 || _mayHaveMore)
        {
            _readable.Set();
        }

        return error == 0 ? true : throw NativeSocket.LostBy(error);
    }

    public int TryWrite(ReadOnlySpan<byte> octets, bool more)
    {
        try
        {
            var count = NativeSocket.Send(_socket, octets, more, out var error);
            return error is 0 or NativeSocket.WouldBlock ? count : throw NativeSocket.LostBy(error);
        }
        catch (ObjectDisposedException)
        {
            throw SocketStream.LostBy(SocketError.OperationAborted);
        }
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        buffer.IsEmpty ? WaitUntilThereAsync(cancellationToken)
        : TryRead(buffer.Span, out var count) ? new ValueTask<int>(count)
        : ReadLaterAsync(buffer, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var written = TryWrite(buffer.Span, more: false);
        return written == buffer.Length ? default : WriteRestAsync(buffer[written..], cancellationToken);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Close(static socket => socket.Dispose());
        }

        base.Dispose(disposing);
    }

    private void Close(Action<Socket> close)
    {
        lock (_readable)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            _loop.Forget(_id);
        }

        close(_socket);

        // Who waits finds the socket closed.
        _readable.Set();
        _writable.Set();
    }

    // On the threads of two loops at once while it moves.
    void EventLoop.ITarget.OnEvents(EventLoop.Events events)
    {
        if ((events & (EventLoop.Events.PeerEnded | EventLoop.Events.Ended | EventLoop.Events.Failed | EventLoop.Events.Urgent)) != 0)
        {
            _mayHaveMore = true;
        }

        if ((events & ~EventLoop.Events.Writable) != 0)
        {
            _readable.Set();
        }

        if ((events & ~(EventLoop.Events.Readable | EventLoop.Events.Urgent | EventLoop.Events.PeerEnded)) != 0)
        {
            _writable.Set();
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> WaitUntilThereAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _readable.WaitAsync(cancellationToken);
            _readable.Clear();
            if (IsThere())
            {
                _readable.Set();
                return 0;
            }
        }
    }

    private bool IsThere()
    {
        try
        {
            return _socket.Poll(0, SelectMode.SelectRead);
        }
        catch (ObjectDisposedException)
        {
            _readable.Set();
            throw SocketStream.LostBy(SocketError.OperationAborted);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> ReadLaterAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            await _readable.WaitAsync(cancellationToken);
            if (TryRead(buffer.Span, out var count))
            {
                return count;
            }
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask WriteRestAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            _writable.Clear();
            buffer = buffer[TryWrite(buffer.Span, more: false)..];
            if (buffer.IsEmpty)
            {
                return;
            }

            await _writable.WaitAsync(cancellationToken);
        }
    }
}
