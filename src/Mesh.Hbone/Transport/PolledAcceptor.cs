using System.Net.Sockets;
using System.Runtime.CompilerServices;

namespace Mesh.Hbone.Transport;

/// <summary>Accepts on a listening socket of an <see cref="EventLoop"/>.</summary>
internal sealed class PolledAcceptor : EventLoop.ITarget, IDisposable
{
    private readonly Socket _socket;
    private readonly Readiness _acceptable = new();
    private readonly SemaphoreSlim _turn = new(1);
    private readonly EventLoop _loop;
    private readonly long _id;
    private volatile bool _disposed;
    private EventLoop.Budget _budget = EventLoop.Budget.OfConnections;

    /// <summary>On a socket that listens, which stays the caller's.</summary>
    /// <exception cref="IOException">The system takes no more sockets.</exception>
    public PolledAcceptor(Socket socket, EventLoop loop)
    {
        _socket = socket;
        _socket.Blocking = false;
        _loop = loop;
        _id = _loop.Add(socket.SafeHandle, this);
    }

    public void OnEvents(EventLoop.Events events) => _acceptable.Set();

    /// <summary>The next connection.</summary>
    /// <exception cref="SocketException">It cannot be accepted.</exception>
    /// <exception cref="ObjectDisposedException">The socket was closed.</exception>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<Socket> AcceptAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            while (true)
            {
                if (_budget.IsUsedUp(1))
                {
                    await EventLoop.YieldAsync();
                }

                ObjectDisposedException.ThrowIf(_disposed, _socket);
                await _acceptable.WaitAsync(cancellationToken);
                _acceptable.Clear();
                if (!_socket.Poll(0, SelectMode.SelectRead))
                {
                    continue;
                }

                // There may be more, and an attempt that fails is to be made again.
                _acceptable.Set();
                try
                {
                    return _socket.Accept();
                }
                catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.ConnectionAborted)
                {
                    // Another process was faster, or the client is gone.
                }
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Wakes who waits, after the socket was closed.</summary>
    public void Dispose()
    {
        _disposed = true;
        _loop.Forget(_id);
        _acceptable.Set();
    }
}
