using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace Mesh.Hbone.Transport;

/// <summary>A thread that waits for sockets and goes on right there with whoever waits for them: no other thread is woken (epoll).</summary>
/// <remarks>
/// A turn is what the sockets have to tell at once, and then what was put off to its end with <see cref="AtEndOfTurn"/>: what many sockets bring for one connection
/// goes out in one write. Nothing may block here.
/// </remarks>
internal sealed partial class EventLoop
{
    private const int MaxEvents = 256;

    [ThreadStatic]
    private static EventLoop? _current;

    private readonly ConcurrentDictionary<long, ITarget> _sockets = [];
    private readonly Queue<Action> _endOfTurn = [];
    private readonly int _poll;
    private long _lastId;

    /// <summary>Starts the thread.</summary>
    /// <param name="number">Its number, for its name.</param>
    /// <exception cref="IOException">The system gives no more.</exception>
    [SupportedOSPlatform("linux")]
    public EventLoop(int number)
    {
        _poll = CreatePoll(CloseOnExec);
        if (_poll < 0)
        {
            throw Failed();
        }

        new Thread(Run) { IsBackground = true, Name = $"Mesh sockets {number}" }.UnsafeStart();
    }

    /// <summary>The loop whose thread this is; null on every other thread.</summary>
    public static EventLoop? Current => _current;

    /// <summary>From now on tells what happens to a socket, once for each change.</summary>
    /// <returns>What <see cref="Forget"/> and <see cref="Remove"/> take.</returns>
    /// <exception cref="IOException">The system does not take more.</exception>
    /// <exception cref="ObjectDisposedException">The socket is closed.</exception>
    public long Add(SafeSocketHandle socket, ITarget target)
    {
        var id = Interlocked.Increment(ref _lastId);
        _sockets[id] = target;
        Span<byte> change = stackalloc byte[EventSize];
        BinaryPrimitives.WriteUInt32LittleEndian(change, (uint)(Events.Readable | Events.Urgent | Events.Writable | Events.PeerEnded | Events.OnChange));
        BinaryPrimitives.WriteInt64LittleEndian(change[DataOffset..], id);
        var isAdded = false;
        try
        {
            isAdded = ControlPoll(_poll, AddSocket, socket, ref MemoryMarshal.GetReference(change)) == 0;
            return isAdded ? id : throw Failed();
        }
        finally
        {
            if (!isAdded)
            {
                Forget(id);
            }
        }
    }

    /// <summary>Lets others go on first: the loop's other sockets, on a loop's thread; on another, whatever else its pool has to do.</summary>
    public static TurnAwaitable YieldAsync() => default;

    /// <summary>Tells nothing more of a socket that is closed next. The system forgets the socket when it is closed.</summary>
    public void Forget(long id) => _sockets.TryRemove(id, out _);

    /// <summary>Tells nothing more of a socket that stays open.</summary>
    public void Remove(long id, SafeSocketHandle socket)
    {
        Forget(id);
        byte ignored = 0;
        _ = ControlPoll(_poll, RemoveSocket, socket, ref ignored);
    }

    /// <summary>Has something run when all sockets of this turn have been told. On this thread only.</summary>
    public void AtEndOfTurn(Action action) => _endOfTurn.Enqueue(action);

    private void Run()
    {
        _current = this;
        Span<byte> events = stackalloc byte[EventSize * MaxEvents];
        while (true)
        {
            // What was put off at the end of a turn is for the end of the next.
            var count = WaitPoll(_poll, ref MemoryMarshal.GetReference(events), MaxEvents, _endOfTurn.Count > 0 ? 0 : -1);
            if (count < 0 && Marshal.GetLastPInvokeError() != Interrupted)
            {
                throw Failed();
            }

            for (var rest = events; count > 0; count--, rest = rest[EventSize..])
            {
                if (_sockets.TryGetValue(BinaryPrimitives.ReadInt64LittleEndian(rest[DataOffset..]), out var target))
                {
                    target.OnEvents((Events)BinaryPrimitives.ReadUInt32LittleEndian(rest));
                }
            }

            for (var left = _endOfTurn.Count; left > 0; left--)
            {
                _endOfTurn.Dequeue()();
            }
        }
    }

    private static IOException Failed() => new($"epoll: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");

    /// <summary>How much whoever never has to wait may do before others have their turn. On a thread that is no loop's it is without bound.</summary>
    /// <param name="full">In octets, or in connections.</param>
    public struct Budget(int full)
    {
        private int _used;

        /// <summary>For who carries octets: a mebibyte.</summary>
        public static Budget OfOctets => new(1024 * 1024);

        /// <summary>For who takes connections or requests: sixteen.</summary>
        public static Budget OfConnections => new(16);

        /// <summary>Counts what was done; true when <see cref="YieldAsync"/> is to follow.</summary>
        public bool IsUsedUp(int count)
        {
            _used += count;
            if (_used < full)
            {
                return false;
            }

            _used = 0;
            return Current is not null;
        }
    }

    /// <summary>Goes on in a later turn.</summary>
    public readonly struct TurnAwaitable : ICriticalNotifyCompletion
    {
        /// <summary>Never.</summary>
        public bool IsCompleted => false;

        /// <summary>Itself.</summary>
        public TurnAwaitable GetAwaiter() => this;

        /// <summary>Nothing.</summary>
        public void GetResult()
        {
        }

        /// <inheritdoc/>
        public void OnCompleted(Action continuation) => UnsafeOnCompleted(continuation);

        /// <inheritdoc/>
        public void UnsafeOnCompleted(Action continuation)
        {
            if (Current is { } loop)
            {
                loop.AtEndOfTurn(continuation);
            }
            else
            {
                ThreadPool.UnsafeQueueUserWorkItem(static continuation => continuation(), continuation, preferLocal: false);
            }
        }
    }

    /// <summary>Who is told what happens to a socket.</summary>
    public interface ITarget
    {
        /// <summary>Something has happened. Runs on the loop's thread; must not block.</summary>
        void OnEvents(Events events);
    }

    /// <summary>Of &lt;sys/epoll.h&gt;.</summary>
    [Flags]
    public enum Events : uint
    {
        /// <summary>None.</summary>
        None = 0,

        /// <summary>There is something to read, or an end.</summary>
        Readable = 0x1,

        /// <summary>Something urgent has come (RFC 9293, section 3.8.5).</summary>
        Urgent = 0x2,

        /// <summary>There is room to write.</summary>
        Writable = 0x4,

        /// <summary>The socket has failed.</summary>
        Failed = 0x8,

        /// <summary>Both ends have ended.</summary>
        Ended = 0x10,

        /// <summary>The peer sends nothing more.</summary>
        PeerEnded = 0x2000,

        /// <summary>Told once for each change.</summary>
        OnChange = 0x80000000,
    }

    // Of <sys/epoll.h> and <errno.h>. The structure is packed on x86-64 alone.
    private const int CloseOnExec = 0x80000;
    private const int AddSocket = 1;
    private const int RemoveSocket = 2;
    private const int Interrupted = 4;
    private static readonly int DataOffset = RuntimeInformation.ProcessArchitecture is Architecture.X64 ? 4 : 8;
    private static readonly int EventSize = DataOffset + sizeof(long);

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial int CreatePoll(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static partial int ControlPoll(int poll, int operation, SafeSocketHandle socket, ref byte change);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int WaitPoll(int poll, ref byte events, int maxEvents, int timeout);
}
