using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Mesh.Hbone.Transport;

/// <summary>Listeners of several processes on one port (SO_REUSEPORT): which of them a new connection goes to. Linux.</summary>
/// <remarks>
/// The kernel chooses by a hash, unless a program is attached to the group (socket(7), SO_ATTACH_REUSEPORT_CBPF), which answers with the place of one in the order in
/// which they came. An answer that is no place means the hash. The program stays with the group when the one that attached it has gone.
/// </remarks>
internal static class ReusePortGroup
{
    private const int SolSocket = 1;
    private const int AttachProgram = 51;
    private const int DetachProgram = 68;

    // struct sock_filter { code = BPF_RET | BPF_K, jt, jf, k = 1 }: the one that came after the first, which is the successor of who has been there longest.
    private static readonly byte[] Second = [6, 0, 0, 0, .. BitConverter.GetBytes(1u)];

    /// <summary>New connections are spread over all, also if one that has gone has said otherwise.</summary>
    public static void Spread(Socket socket)
    {
        try
        {
            socket.SetRawSocketOption(SolSocket, DetachProgram, BitConverter.GetBytes(0));
        }
        catch (SocketException)
        {
            // There was no program, or the kernel knows none.
        }
    }

    /// <summary>New connections go to the one that came second, if there is one.</summary>
    /// <returns>Whether the kernel can.</returns>
    public static bool PreferTheSecond(Socket socket)
    {
        var pinned = GCHandle.Alloc(Second, GCHandleType.Pinned);
        try
        {
            // struct sock_fprog { unsigned short len; struct sock_filter *filter; }
            var program = new byte[2 * IntPtr.Size];
            BitConverter.TryWriteBytes(program, (ushort)1);
            BitConverter.TryWriteBytes(program.AsSpan(IntPtr.Size), pinned.AddrOfPinnedObject());
            socket.SetRawSocketOption(SolSocket, AttachProgram, program);
            return true;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            return false;
        }
        finally
        {
            pinned.Free();
        }
    }
}
