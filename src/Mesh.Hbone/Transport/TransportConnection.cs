using System.Net;

namespace Mesh.Hbone.Transport;

/// <summary>A connection that carries octets both ways, with the addresses of its ends. Whoever made or accepted it disposes it.</summary>
public abstract class TransportConnection : IAsyncDisposable
{
    /// <summary>The octets. Disposed with the connection.</summary>
    public abstract Stream Stream { get; }

    /// <summary>Our address; IPv4 in its own form.</summary>
    public abstract IPEndPoint LocalEndPoint { get; }

    /// <summary>The peer's address; IPv4 in its own form.</summary>
    public abstract IPEndPoint RemoteEndPoint { get; }

    /// <summary>Where the client meant to go before it was redirected here (SO_ORIGINAL_DST); the local address when it was not redirected.</summary>
    public virtual IPEndPoint OriginalDestination => LocalEndPoint;

    /// <summary>Says that we send nothing more; the peer's octets still come.</summary>
    public abstract void ShutdownSend();

    /// <summary>Ends the connection at once, with RST where the transport has it.</summary>
    public abstract void Abort();

    /// <summary>Closes the connection; what was written is still delivered.</summary>
    public abstract ValueTask DisposeAsync();
}

/// <summary>Accepts connections on one address.</summary>
public abstract class TransportListener : IAsyncDisposable
{
    /// <summary>The address, with the port that the system chose when it was to choose one.</summary>
    public abstract IPEndPoint LocalEndPoint { get; }

    /// <summary>Whether the process may connect with addresses that are not its own: the source of what is accepted here can be kept (ztunnel §8.5).</summary>
    public virtual bool IsTransparent => false;

    /// <summary>
    /// Lets new connections go to another process that listens on the same port, if there is one. What has begun here still comes: go on accepting for a moment, then
    /// dispose. A listener that is closed without it may take connections down that it has not handed out yet.
    /// </summary>
    /// <returns>Whether the port can be shared at all; when it cannot, nothing changes.</returns>
    public virtual bool HandOver() => false;

    /// <summary>The next connection; null when the listener is closed.</summary>
    public abstract ValueTask<TransportConnection?> AcceptAsync(CancellationToken cancellationToken);

    /// <summary>Closes the listener; accepted connections stay.</summary>
    public abstract ValueTask DisposeAsync();
}

/// <summary>Makes all connections and listeners: sockets in production, memory in tests, sockets of another network namespace in a node proxy.</summary>
public abstract class TransportFactory
{
    /// <summary>Connects.</summary>
    /// <param name="remote">Where to.</param>
    /// <param name="source">Our address, or a client's to be kept where <see cref="TransportListener.IsTransparent"/> says so; null to let the system choose.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="IOException">It cannot be reached, or the source address cannot be had.</exception>
    public abstract ValueTask<TransportConnection> ConnectAsync(IPEndPoint remote, IPAddress? source, CancellationToken cancellationToken);

    /// <summary>Listens.</summary>
    /// <exception cref="IOException">The address cannot be had; the message names it.</exception>
    public abstract TransportListener Listen(IPEndPoint local);
}
