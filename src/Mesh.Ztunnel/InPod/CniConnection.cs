using System.Net.Sockets;
using Google.Protobuf;
using Mesh.Ztunnel.InPod.Protocol;
using Microsoft.Win32.SafeHandles;

namespace Mesh.Ztunnel.InPod;

/// <summary>A request of the CNI agent, and the descriptor that came with it.</summary>
/// <param name="Request">The request.</param>
/// <param name="NetworkNamespace">The descriptor; null when none came. Whoever gets this owns it.</param>
internal sealed record CniRequest(WorkloadRequest Request, SafeFileHandle? NetworkNamespace);

/// <summary>The CNI agent does not keep to the protocol.</summary>
internal sealed class CniProtocolException(string message, Exception? innerException = null) : Exception(message, innerException);

/// <summary>A connection to the CNI agent of the node: one message in each packet of a SOCK_SEQPACKET socket (ztunnel §12.1).</summary>
internal sealed class CniConnection : IDisposable
{
    // As much as Istio's takes; what is longer is an error.
    private const int MaxMessage = 1024;

    private readonly Socket _socket;

    private CniConnection(Socket socket) => _socket = socket;

    /// <exception cref="SocketException">Nobody listens there.</exception>
    public static async Task<CniConnection> ConnectAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return new CniConnection(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public async Task SendAsync(IMessage message, CancellationToken cancellationToken) =>
        await _socket.SendAsync(message.ToByteArray(), SocketFlags.None, cancellationToken);

    /// <summary>The next request; null when the agent has closed the connection.</summary>
    /// <exception cref="SocketException">The connection is lost.</exception>
    /// <exception cref="CniProtocolException">What came is no request, or has descriptors that it must not have, or too many.</exception>
    public async Task<CniRequest?> ReceiveAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _socket.ReceiveAsync(Memory<byte>.Empty, SocketFlags.None, cancellationToken);
            if (PacketWithDescriptors.Receive(_socket.SafeHandle, MaxMessage) is not { } packet)
            {
                continue;
            }

            try
            {
                return packet.Octets.IsEmpty && packet.Descriptors.IsEmpty ? null : Parse(packet);
            }
            catch
            {
                foreach (var descriptor in packet.Descriptors)
                {
                    descriptor.Dispose();
                }

                throw;
            }
        }
    }

    public void Dispose() => _socket.Dispose();

    private static CniRequest Parse(PacketWithDescriptors packet)
    {
        if (packet.IsTruncated)
        {
            throw new CniProtocolException($"a message of the CNI agent is longer than {MaxMessage} octets, or came with too many file descriptors");
        }

        WorkloadRequest request;
        try
        {
            request = WorkloadRequest.Parser.ParseFrom(packet.Octets.Span);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new CniProtocolException($"a message of the CNI agent cannot be read: {e.Message}", e);
        }

        var expected = request.PayloadCase is WorkloadRequest.PayloadOneofCase.Add ? 1 : 0;
        return packet.Descriptors.Length == expected
            ? new CniRequest(request, packet.Descriptors.FirstOrDefault())
            : throw new CniProtocolException($"a request '{request.PayloadCase}' of the CNI agent came with {packet.Descriptors.Length} file descriptors; {expected} belongs to it");
    }
}
