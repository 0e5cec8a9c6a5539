namespace Mesh.Hbone.Transport;

/// <summary>TCP keep-alive (ztunnel §1, §13).</summary>
/// <param name="Idle">Silence before the first probe.</param>
/// <param name="Interval">Time between probes.</param>
/// <param name="Probes">Probes without an answer before the connection is given up.</param>
public sealed record TcpKeepAlive(TimeSpan Idle, TimeSpan Interval, int Probes)
{
    /// <summary>180 seconds, 180 seconds, 9 probes.</summary>
    public static readonly TcpKeepAlive Default = new(TimeSpan.FromSeconds(180), TimeSpan.FromSeconds(180), 9);
}

/// <summary>Whether sockets may use addresses that are not the machine's own (IP_TRANSPARENT; ztunnel §1, ENABLE_ORIG_SRC).</summary>
public enum TransparentMode
{
    /// <summary>They never do.</summary>
    Never = 0,

    /// <summary>They do where the system lets them.</summary>
    IfPossible = 1,

    /// <summary>They do; where the system does not let them, listening fails.</summary>
    Required = 2,
}

/// <summary>How sockets are made.</summary>
public sealed record SocketTransportOptions
{
    /// <summary>TCP keep-alive; null for none.</summary>
    public TcpKeepAlive? KeepAlive { get; init; } = TcpKeepAlive.Default;

    /// <summary>Whether octets that nobody acknowledges end a connection after as long as keep-alive would take (TCP_USER_TIMEOUT). Default false.</summary>
    public bool UserTimeout { get; init; }

    /// <summary>The mark of every packet (SO_MARK), by which rules of redirection tell ours from those of applications; null for none. Needs CAP_NET_ADMIN.</summary>
    public uint? PacketMark { get; init; }

    /// <summary>Whether another process of the same user may listen on the same port at the same time (SO_REUSEPORT), to take it over. Default false.</summary>
    public bool SharePorts { get; init; }

    /// <summary>Whether sockets may use addresses that are not the machine's own. Default <see cref="TransparentMode.Never"/>. Needs CAP_NET_ADMIN or CAP_NET_RAW.</summary>
    public TransparentMode Transparent { get; init; }

    /// <summary>The threads that poll sockets, on which who waits for one goes on; null for the runtime's. Linux.</summary>
    /// <remarks>For applications that never block there: whoever blocks holds up other connections. With <see cref="HboneOptions.InlineCompletions"/>.</remarks>
    public EventLoopGroup? EventLoops { get; init; }
}
