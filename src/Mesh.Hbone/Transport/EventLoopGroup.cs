using System.Runtime.Versioning;

namespace Mesh.Hbone.Transport;

/// <summary>Threads that poll sockets, on which whoever waits for a socket goes on (<see cref="SocketTransportOptions.EventLoops"/>). They last as long as the process; one group is enough for it.</summary>
public sealed class EventLoopGroup
{
    private readonly EventLoop[] _loops;
    private int _last;

    /// <summary>Starts the threads.</summary>
    /// <param name="threads">How many; a proxy has one for each processor that it may use. At least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are to be none.</exception>
    /// <exception cref="IOException">The system gives no more (epoll).</exception>
    [SupportedOSPlatform("linux")]
    public EventLoopGroup(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _loops = [.. Enumerable.Range(0, threads).Select(number => new EventLoop(number))];
    }

    /// <summary>The loop for the next socket: in turn.</summary>
    internal EventLoop Next() => _loops[(uint)Interlocked.Increment(ref _last) % (uint)_loops.Length];
}
