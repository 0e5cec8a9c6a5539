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
internal sealed partial class PolledStream : AsyncStream, IPolledStream, EventLoop.ITarget
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

    /// <summary>What polls it.</summary>
    public EventLoop Loop => _loop;

    public bool IsReadable => _readable.IsSet;

    /// <summary>Over a connected socket, which it owns from now on.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="loop">What polls it.</param>
    /// <exception cref="IOException">The system takes no more sockets; the socket is left to the caller then.</exception>
    public PolledStream(Socket socket, EventLoop loop)
        : this(NonBlocking(socket), loop, isConnecting: false)
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

    /// <summary>Connects a socket, which the result owns. The runtime would have a thread of its own woken for every event of a socket that it has connected.</summary>
    /// <exception cref="SocketException">It cannot be connected.</exception>
    public static async ValueTask<PolledStream> ConnectAsync(Socket socket, EventLoop loop, IPEndPoint remote, CancellationToken cancellationToken)
    {
        var connected = TryConnect(NonBlocking(socket), remote);
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
            count = Receive(buffer, out error);
        }
        catch (ObjectDisposedException)
        {
            // For whoever asks again.
            _readable.Set();
            throw SocketStream.LostBy(SocketError.OperationAborted);
        }

        if (error == WouldBlock)
        {
            return false;
        }

        if (count == buffer.Length || count == 0 || _mayHaveMore)
        {
            _readable.Set();
        }

        return error == 0 ? true : throw LostBy(error);
    }

    public int TryWrite(ReadOnlySpan<byte> octets, bool more)
    {
        try
        {
            var count = Send(octets, more ? NoSignal | More : NoSignal, out var error);
            return error is 0 or WouldBlock ? count : throw LostBy(error);
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

    // Whether it is connected; null when it cannot be.
    private static bool? TryConnect(Socket socket, IPEndPoint remote)
    {
        var address = remote.Serialize();
        return ConnectSocket(socket.SafeHandle, ref MemoryMarshal.GetReference(address.Buffer.Span), address.Size) == 0 ? true
            : Marshal.GetLastPInvokeError() == InProgress ? false
            : null;
    }

    // Without the runtime's knowledge, which for a socket that does not block keeps its own queues.
    private static Socket NonBlocking(Socket socket) => ControlFile(socket.SafeHandle, SetFlags, ReadWrite | DoNotBlock) == 0
        ? socket
        : throw LostBy(Marshal.GetLastPInvokeError());

    // 0 octets with an error.
    private int Receive(Span<byte> buffer, out int error)
    {
        nint count;
        do
        {
            count = ReceiveFromSocket(_socket.SafeHandle, buffer, buffer.Length, flags: 0);
            error = count < 0 ? Marshal.GetLastPInvokeError() : 0;
        }
        while (error == Interrupted);

        return (int)Math.Max(count, 0);
    }

    private int Send(ReadOnlySpan<byte> octets, int flags, out int error)
    {
        nint count;
        do
        {
            count = SendToSocket(_socket.SafeHandle, octets, octets.Length, flags);
            error = count < 0 ? Marshal.GetLastPInvokeError() : 0;
        }
        while (error == Interrupted);

        return (int)Math.Max(count, 0);
    }

    private static IOException LostBy(int error) => new(Marshal.GetPInvokeErrorMessage(error), new SocketException((int)FaultOf(error)));

    // As far as somebody makes a difference between them.
    private static SocketError FaultOf(int error) => error switch
    {
        BrokenPipe => SocketError.Shutdown,
        ConnectionAborted => SocketError.ConnectionAborted,
        ConnectionReset => SocketError.ConnectionReset,
        TimedOut => SocketError.TimedOut,
        ConnectionRefused => SocketError.ConnectionRefused,
        NetworkUnreachable => SocketError.NetworkUnreachable,
        HostUnreachable => SocketError.HostUnreachable,
        NotConnected => SocketError.NotConnected,
        NoMemory or NoBuffers => SocketError.NoBufferSpaceAvailable,
        _ => SocketError.SocketError,
    };

    // Of <errno.h>, <fcntl.h> and <sys/socket.h>.
    private const int Interrupted = 4;
    private const int WouldBlock = 11;
    private const int NoMemory = 12;
    private const int BrokenPipe = 32;
    private const int NetworkUnreachable = 101;
    private const int ConnectionAborted = 103;
    private const int ConnectionReset = 104;
    private const int NoBuffers = 105;
    private const int NotConnected = 107;
    private const int TimedOut = 110;
    private const int ConnectionRefused = 111;
    private const int HostUnreachable = 113;
    private const int InProgress = 115;
    private const int SetFlags = 4;
    private const int ReadWrite = 0x2;
    private const int DoNotBlock = 0x800;
    private const int More = 0x8000;
    private const int NoSignal = 0x4000;

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int ControlFile(SafeSocketHandle socket, int command, int argument);

    [LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    private static partial int ConnectSocket(SafeSocketHandle socket, ref byte address, int length);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    private static partial nint ReceiveFromSocket(SafeSocketHandle socket, Span<byte> buffer, nint length, int flags);

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    private static partial nint SendToSocket(SafeSocketHandle socket, ReadOnlySpan<byte> octets, nint length, int flags);
}
