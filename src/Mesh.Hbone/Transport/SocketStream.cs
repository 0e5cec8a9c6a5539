using System.Net.Sockets;
using System.Runtime.CompilerServices;

namespace Mesh.Hbone.Transport;

/// <summary>The octets of a socket. To ask for nothing is to wait until there is something, an end or an error; it is not over before.</summary>
/// <remarks>
/// <see cref="NetworkStream"/> ends such a wait with any event of the socket, also with a late one of what has been read already. Whoever took a buffer
/// then would hold it for as long as the connection is idle.
/// </remarks>
internal sealed class SocketStream : NetworkStream, IPolledStream
{
    /// <summary>Over a connected socket, which it owns from now on.</summary>
    public SocketStream(Socket socket)
        : base(socket, ownsSocket: true)
    {
        // Nothing that is called without waiting for it blocks, as TryRead needs.
        socket.Blocking = false;
    }

    public bool IsReadable => true;

    private bool IsThere => Socket.Poll(0, SelectMode.SelectRead);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var reading = base.ReadAsync(buffer, cancellationToken);
        return buffer.Length > 0 || (reading.IsCompletedSuccessfully && IsThere) ? reading : WaitAsync(reading, cancellationToken);
    }

    public ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken) => base.ReadAsync(Memory<byte>.Empty, cancellationToken);

    public bool TryRead(Span<byte> buffer, out int count)
    {
        count = Socket.Receive(buffer, SocketFlags.None, out var error);
        return error switch
        {
            SocketError.Success => true,
            SocketError.WouldBlock => false,
            _ => throw LostBy(error),
        };
    }

    public int TryWrite(ReadOnlySpan<byte> octets, bool more)
    {
        var count = Socket.Send(octets, SocketFlags.None, out var error);
        return error switch
        {
            SocketError.Success => count,
            SocketError.WouldBlock => 0,
            _ => throw LostBy(error),
        };
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> WaitAsync(ValueTask<int> reading, CancellationToken cancellationToken)
    {
        _ = await reading;
        while (!IsThere)
        {
            _ = await base.ReadAsync(Memory<byte>.Empty, cancellationToken);
        }

        return 0;
    }

    /// <summary>What is thrown when a socket has failed.</summary>
    internal static IOException LostBy(SocketError error)
    {
        var cause = new SocketException((int)error);
        return new IOException(cause.Message, cause);
    }
}
