using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Mesh.Hbone.Transport;

/// <summary>The system's calls for sockets that do not block (Linux), without the queues that the runtime keeps for those.</summary>
internal static partial class NativeSocket
{
    /// <summary>There is nothing to read, or no room to write.</summary>
    public const int WouldBlock = 11;

    /// <summary>Begins to connect: whether it is connected already; null when it cannot be.</summary>
    public static bool? TryConnect(Socket socket, IPEndPoint remote)
    {
        var address = remote.Serialize();
        return ConnectSocket(socket.SafeHandle, ref MemoryMarshal.GetReference(address.Buffer.Span), address.Size) == 0 ? true
            : Marshal.GetLastPInvokeError() == InProgress ? false
            : null;
    }

    /// <summary>From now on no call for the socket blocks.</summary>
    /// <returns>The socket.</returns>
    /// <exception cref="IOException">The system does not do it.</exception>
    public static Socket DoNotBlock(Socket socket) => ControlFile(socket.SafeHandle, SetFlags, ReadWrite | NonBlocking) == 0
        ? socket
        : throw LostBy(Marshal.GetLastPInvokeError());

    /// <summary>Reads what there is: 0 octets at the end, or with an error.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="buffer">Where to.</param>
    /// <param name="error">The system's number, 0 for none.</param>
    /// <exception cref="ObjectDisposedException">The socket is closed.</exception>
    public static int Receive(Socket socket, Span<byte> buffer, out int error)
    {
        nint count;
        do
        {
            count = ReceiveFromSocket(socket.SafeHandle, buffer, buffer.Length, flags: 0);
            error = count < 0 ? Marshal.GetLastPInvokeError() : 0;
        }
        while (error == Interrupted);

        return (int)Math.Max(count, 0);
    }

    /// <summary>Writes as much as there is room for: 0 octets with an error.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="octets">What to write.</param>
    /// <param name="more">Whether more follows at once.</param>
    /// <param name="error">The system's number, 0 for none.</param>
    /// <exception cref="ObjectDisposedException">The socket is closed.</exception>
    public static int Send(Socket socket, ReadOnlySpan<byte> octets, bool more, out int error)
    {
        nint count;
        do
        {
            count = SendToSocket(socket.SafeHandle, octets, octets.Length, more ? NoSignal | More : NoSignal);
            error = count < 0 ? Marshal.GetLastPInvokeError() : 0;
        }
        while (error == Interrupted);

        return (int)Math.Max(count, 0);
    }

    /// <summary>What is thrown when a socket has failed.</summary>
    public static IOException LostBy(int error) => new(Marshal.GetPInvokeErrorMessage(error), new SocketException((int)FaultOf(error)));

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
    private const int NonBlocking = 0x800;
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
