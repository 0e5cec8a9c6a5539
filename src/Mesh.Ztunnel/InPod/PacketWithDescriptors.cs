using System.Collections.Immutable;
using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Mesh.Ztunnel.InPod;

/// <summary>A packet and the file descriptors that came with it (SCM_RIGHTS), which .NET's sockets cannot take.</summary>
/// <param name="Octets">The packet.</param>
/// <param name="Descriptors">The descriptors; whoever gets this owns them. They are closed in programs that this one starts.</param>
/// <param name="IsTruncated">Whether there was more of either than was taken.</param>
internal sealed unsafe partial record PacketWithDescriptors(ReadOnlyMemory<byte> Octets, ImmutableArray<SafeFileHandle> Descriptors, bool IsTruncated)
{
    // Room for some dozens of descriptors; whoever sends more is told that it is too many, and the system closes what did not fit.
    private const int ControlSize = 256;
    private const int SocketLevel = 1;
    private const int Rights = 1;
    private const int DescriptorsCloseOnExec = 0x4000_0000;
    private const int DoNotWait = 0x40;
    private const int Truncated = 0x20;
    private const int ControlTruncated = 0x8;
    private const int Interrupted = 4;
    private const int Again = 11;

    /// <summary>Takes the next packet; null when there is none yet.</summary>
    /// <exception cref="IOException">The socket is broken.</exception>
    public static PacketWithDescriptors? Receive(SafeHandle socket, int maxOctets)
    {
        var octets = new byte[maxOctets];
        Span<byte> control = stackalloc byte[ControlSize];
        fixed (byte* octetsStart = octets)
        fixed (byte* controlStart = control)
        {
            var vector = new IoVector { Base = octetsStart, Length = (nuint)octets.Length };
            var header = new MessageHeader { Vectors = &vector, VectorCount = 1, Control = controlStart, ControlLength = ControlSize };
            var read = ReceiveMessage(socket, &header, DescriptorsCloseOnExec | DoNotWait);
            if (read < 0)
            {
                var error = Marshal.GetLastPInvokeError();
                return error is Again or Interrupted ? null : throw new IOException($"cannot read from the socket: {new Win32Exception(error).Message}");
            }

            return new PacketWithDescriptors(
                octets.AsMemory(0, (int)read), DescriptorsOf(control[..(int)header.ControlLength]), (header.Flags & (Truncated | ControlTruncated)) != 0);
        }
    }

    // Headers of length, level and type, each followed by its data, padded to the size of a pointer (cmsg(3)).
    private static ImmutableArray<SafeFileHandle> DescriptorsOf(ReadOnlySpan<byte> control)
    {
        var descriptors = ImmutableArray.CreateBuilder<SafeFileHandle>();
        while (control.Length >= sizeof(ControlHeader))
        {
            var part = MemoryMarshal.Read<ControlHeader>(control);
            var length = (int)Math.Min(part.Length, (nuint)control.Length);
            if (length < sizeof(ControlHeader))
            {
                break;
            }

            if (part is { Level: SocketLevel, Type: Rights })
            {
                foreach (var descriptor in MemoryMarshal.Cast<byte, int>(control[sizeof(ControlHeader)..length]))
                {
                    descriptors.Add(new SafeFileHandle(descriptor, ownsHandle: true));
                }
            }

            var padded = (length + sizeof(nint) - 1) & ~(sizeof(nint) - 1);
            control = control[Math.Min(padded, control.Length)..];
        }

        return descriptors.ToImmutable();
    }

    [LibraryImport("libc", EntryPoint = "recvmsg", SetLastError = true)]
    private static partial nint ReceiveMessage(SafeHandle socket, MessageHeader* header, int flags);

    // struct iovec, msghdr and cmsghdr, as 64-bit Linux has them.
    [StructLayout(LayoutKind.Sequential)]
    private struct IoVector
    {
        public byte* Base;
        public nuint Length;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct MessageHeader
    {
        public void* Name;
        public uint NameLength;
        public IoVector* Vectors;
        public nuint VectorCount;
        public byte* Control;
        public nuint ControlLength;
        public int Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ControlHeader
    {
        public nuint Length;
        public int Level;
        public int Type;
    }
}
