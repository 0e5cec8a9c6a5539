using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Mesh.Hbone.Transport;

/// <summary>The octets of a socket of an <see cref="EventLoop"/>. One reader and one writer at a time.</summary>
/// <remarks>
/// A read that brings less than was asked for has emptied the socket, so that nothing asks again before the next event (epoll(7), question 9). It is not so
/// with urgent data, before which a read stops, nor when the end has been told.
/// </remarks>
internal sealed partial class PolledStream : AsyncStream, IPolledStream
{
    private readonly Socket _socket;
    private readonly Readiness _readable = new();
    private readonly Readiness _writable = new();

    // Guarded by the lock of _readable.
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
        : this(socket, loop, isConnecting: false)
    {
    }

    private PolledStream(Socket socket, EventLoop loop, bool isConnecting)
    {
        _socket = socket;
        _socket.Blocking = false;
        if (isConnecting)
        {
            _writable.Clear();
        }

        _loop = loop;
        _id = _loop.Add(socket.SafeHandle, OnEvents);
    }

    /// <summary>Connects a socket, which the result owns. The runtime would have a thread of its own woken for every event of a socket that it has connected.</summary>
    /// <exception cref="SocketException">It cannot be connected.</exception>
    public static async ValueTask<PolledStream> ConnectAsync(Socket socket, EventLoop loop, IPEndPoint remote, CancellationToken cancellationToken)
    {
        socket.Blocking = false;
        var connected = TryConnect(socket, remote);
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
                var id = loop.Add(_socket.SafeHandle, OnEvents);
                _loop.Remove(_id, _socket.SafeHandle);
                _id = id;
                _loop = loop;
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // Whoever reads or writes finds out whether it was closed.
            }
        }
    }

    public ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken) => _readable.WaitAsync(cancellationToken);

    public bool TryRead(Span<byte> buffer, out int count)
    {
        if (!_readable.IsSet)
        {
            count = 0;
            return false;
        }

        _readable.Clear();
        SocketError error;
        try
        {
            count = _socket.Receive(buffer, SocketFlags.None, out error);
        }
        catch (ObjectDisposedException)
        {
            // For whoever asks again.
            _readable.Set();
            throw SocketStream.LostBy(SocketError.OperationAborted);
        }

        if (error is SocketError.WouldBlock)
        {
            return false;
        }

        if (count == buffer.Length || count == 0 || _mayHaveMore || error is not SocketError.Success)
        {
            _readable.Set();
        }

        return error is SocketError.Success ? true : throw SocketStream.LostBy(error);
    }

    public int TryWrite(ReadOnlySpan<byte> octets, bool more)
    {
        int count;
        SocketError error;
        try
        {
            count = more ? SendMore(octets, out error) : _socket.Send(octets, SocketFlags.None, out error);
        }
        catch (ObjectDisposedException)
        {
            throw SocketStream.LostBy(SocketError.OperationAborted);
        }

        return error switch
        {
            SocketError.Success => count,
            SocketError.WouldBlock => 0,
            _ => throw SocketStream.LostBy(error),
        };
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
        if (disposing && TryDispose())
        {
            _socket.Dispose();

            // Who waits finds the socket closed.
            _readable.Set();
            _writable.Set();
        }

        base.Dispose(disposing);
    }

    private bool TryDispose()
    {
        lock (_readable)
        {
            if (_disposed)
            {
                return false;
            }

            _disposed = true;
            _loop.Forget(_id);
            return true;
        }
    }

    // On the thread of the loop; on those of two at once while it moves.
    private void OnEvents(EventLoop.Events events)
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

    // The runtime has no word for MSG_MORE.
    private int SendMore(ReadOnlySpan<byte> octets, out SocketError error)
    {
        var count = SendSocket(_socket.SafeHandle, ref MemoryMarshal.GetReference(octets), octets.Length, More | NoSignal);
        error = count >= 0 ? SocketError.Success : Marshal.GetLastPInvokeError() switch
        {
            WouldBlock => SocketError.WouldBlock,
            ConnectionReset => SocketError.ConnectionReset,
            _ => SocketError.SocketError,
        };

        // What else there is happens again, and is told.
        return error is SocketError.SocketError ? _socket.Send(octets, SocketFlags.None, out error) : (int)count;
    }

    // Whether it is connected; null when it cannot be.
    private static bool? TryConnect(Socket socket, IPEndPoint remote)
    {
        var address = remote.Serialize();
        return ConnectSocket(socket.SafeHandle, ref MemoryMarshal.GetReference(address.Buffer.Span), address.Size) == 0 ? true
            : Marshal.GetLastPInvokeError() == InProgress ? false
            : null;
    }

    // Of <errno.h> and <sys/socket.h>.
    private const int WouldBlock = 11;
    private const int ConnectionReset = 104;
    private const int InProgress = 115;
    private const int More = 0x8000;
    private const int NoSignal = 0x4000;

    [LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    private static partial int ConnectSocket(SafeSocketHandle socket, ref byte address, int length);

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    private static partial nint SendSocket(SafeSocketHandle socket, ref byte octets, nint length, int flags);
}
