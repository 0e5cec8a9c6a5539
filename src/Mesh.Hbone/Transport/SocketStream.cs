using System.Net.Sockets;
using System.Runtime.CompilerServices;

namespace Mesh.Hbone.Transport;

/// <summary>The octets of a socket. To ask for nothing is to wait until there is something, an end or an error; it is not over before.</summary>
/// <remarks>
/// <see cref="NetworkStream"/> ends such a wait with any event of the socket, also with a late one of what has been read already. Whoever took a buffer
/// then would hold it for as long as the connection is idle.
/// </remarks>
internal sealed class SocketStream(Socket socket) : NetworkStream(socket, ownsSocket: true)
{
    private bool IsThere => Socket.Poll(0, SelectMode.SelectRead);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var reading = base.ReadAsync(buffer, cancellationToken);
        return buffer.Length > 0 || (reading.IsCompletedSuccessfully && IsThere) ? reading : WaitAsync(reading, cancellationToken);
    }

    /// <summary>Waits for an event of the socket, which may be nothing: for who then calls <see cref="TryRead"/>.</summary>
    public ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken) => base.ReadAsync(Memory<byte>.Empty, cancellationToken);

    /// <summary>From now on nothing that is called without waiting for it blocks, as <see cref="TryRead"/> needs.</summary>
    public void MakeNonBlocking() => Socket.Blocking = false;

    /// <summary>Reads what is there; false when nothing is. An end is there, as 0 octets.</summary>
    /// <exception cref="IOException">The connection was lost.</exception>
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

    private static IOException LostBy(SocketError error)
    {
        var cause = new SocketException((int)error);
        return new IOException(cause.Message, cause);
    }
}
