using System.ComponentModel;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Mesh.Ztunnel.InPod;

/// <summary>Which namespace it is: two descriptors of one namespace have the same.</summary>
/// <param name="Device">The device of its file.</param>
/// <param name="Inode">The inode of its file.</param>
internal readonly record struct NetworkNamespaceId(ulong Device, ulong Inode);

/// <summary>A network namespace, in which sockets can be opened that stay there; everything else of them is done from here (ztunnel §12.4).</summary>
/// <remarks>
/// A thread that enters a namespace hands it on to every thread that it starts. So nothing runs inside but one system call that opens a
/// socket: no allocation, no first call of a method, no continuation of somebody who waits. <see cref="PrepareAsync"/> has all code that runs
/// inside compiled before, and the threads that poll sockets started.
/// </remarks>
internal sealed partial class NetworkNamespace : IDisposable
{
    private const string Own = "/proc/self/ns/net";
    private const int NewNet = 0x4000_0000;
    private const int CloseOnExec = 0x8_0000;

    private static readonly Lazy<NetworkNamespace> Home = new(() => Open(Own));

    private readonly SafeFileHandle _file;

    private NetworkNamespace(SafeFileHandle file)
    {
        _file = file;
        Id = Identify(file);
    }

    /// <summary>Which namespace it is.</summary>
    public NetworkNamespaceId Id { get; }

    /// <summary>Opens the namespace of a path, for example <c>/run/netns/name</c> or <c>/proc/123/ns/net</c>.</summary>
    /// <exception cref="IOException">There is no such file, or it cannot be read.</exception>
    public static NetworkNamespace Open(string path) => new(File.OpenHandle(path));

    /// <summary>Takes over a descriptor.</summary>
    /// <exception cref="IOException">The file cannot be looked at.</exception>
    public static NetworkNamespace FromDescriptor(SafeFileHandle file) => new(file);

    /// <summary>Makes sure that namespaces can be entered without a trace, and that this process may. Once, before the first socket is opened in one.</summary>
    /// <exception cref="IOException">The process may not enter namespaces: it needs CAP_SYS_ADMIN.</exception>
    public static async Task PrepareAsync(CancellationToken cancellationToken)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        using var client = Home.Value.OpenSocket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        var accepting = listener.AcceptAsync(cancellationToken).AsTask();
        await client.ConnectAsync(listener.LocalEndPoint!, cancellationToken);
        (await accepting).Dispose();
    }

    /// <summary>Opens a socket in the namespace.</summary>
    /// <exception cref="SocketException">The system does not give one.</exception>
    /// <exception cref="IOException">The namespace cannot be entered.</exception>
    public Socket OpenSocket(AddressFamily family, SocketType type, ProtocolType protocol)
    {
        const int Inet = 2;
        const int Inet6 = 10;
        var home = Home.Value._file;
        var isReferenced = false;
        var isHomeReferenced = false;
        try
        {
            _file.DangerousAddRef(ref isReferenced);
            home.DangerousAddRef(ref isHomeReferenced);
            var descriptor = Open(
                (int)_file.DangerousGetHandle(),
                (int)home.DangerousGetHandle(),
                family is AddressFamily.InterNetworkV6 ? Inet6 : Inet,
                (int)type | CloseOnExec,
                (int)protocol,
                out var error,
                out var hasEntered);
            if (!hasEntered)
            {
                throw new IOException($"cannot enter the network namespace {Id.Inode}: {new Win32Exception(error).Message}");
            }

            return descriptor >= 0 ? new Socket(new SafeSocketHandle(descriptor, ownsHandle: true)) : throw new SocketException((int)ToSocketError(error));
        }
        finally
        {
            if (isReferenced)
            {
                _file.DangerousRelease();
            }

            if (isHomeReferenced)
            {
                home.DangerousRelease();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    // Compiled once and for all: a method that is compiled in tiers could have the compiler's thread started while it is inside.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static int Open(int namespaceFile, int homeFile, int family, int type, int protocol, out int error, out bool hasEntered)
    {
        error = 0;
        hasEntered = false;
        if (EnterNamespace(namespaceFile, NewNet) != 0)
        {
            error = Marshal.GetLastSystemError();
            return -1;
        }

        var descriptor = OpenSocket(family, type, protocol);
        error = Marshal.GetLastSystemError();
        if (EnterNamespace(homeFile, NewNet) != 0)
        {
            // What this thread opened from now on would be in somebody's pod.
            Environment.FailFast("cannot go back to the own network namespace");
        }

        hasEntered = true;
        return descriptor;
    }

    private static SocketError ToSocketError(int error) => error switch
    {
        1 or 13 => SocketError.AccessDenied,
        12 or 105 => SocketError.NoBufferSpaceAvailable,
        23 or 24 => SocketError.TooManyOpenSockets,
        97 => SocketError.AddressFamilyNotSupported,
        _ => SocketError.SocketError,
    };

    private static NetworkNamespaceId Identify(SafeFileHandle file)
    {
        const int EmptyPath = 0x1000;
        const uint InodeWanted = 0x100;
        Span<byte> status = stackalloc byte[256];
        if (Status(file, "", EmptyPath, InodeWanted, ref MemoryMarshal.GetReference(status)) != 0)
        {
            throw new IOException($"cannot look at the file of a network namespace: {new Win32Exception(Marshal.GetLastPInvokeError()).Message}");
        }

        // struct statx: the same on all architectures.
        var inode = MemoryMarshal.Read<ulong>(status[32..]);
        var device = ((ulong)MemoryMarshal.Read<uint>(status[136..]) << 32) | MemoryMarshal.Read<uint>(status[140..]);
        return new NetworkNamespaceId(device, inode);
    }

    // Without SetLastError, which would add managed code around the call.
    [LibraryImport("libc", EntryPoint = "setns")]
    private static partial int EnterNamespace(int file, int type);

    [LibraryImport("libc", EntryPoint = "socket")]
    private static partial int OpenSocket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Status(SafeFileHandle file, string path, int flags, uint mask, ref byte status);
}
