namespace Mesh.Hbone;

/// <summary>How HBONE connections behave. The defaults are those of Istio's ztunnel (ztunnel §2.6, §2.7).</summary>
public sealed class HboneOptions
{
    /// <summary>Octets that a peer may send on one tunnel before we read them. 65,535 to 2^31-1; default 4 MiB.</summary>
    public int StreamWindowSize { get; set; } = 4 * 1024 * 1024;

    /// <summary>Octets that a peer may send on one connection before we read them. 65,535 to 2^31-1; default 16 MiB.</summary>
    /// <remarks>Four times the stream window, so that one tunnel that nobody reads does not starve the others.</remarks>
    public int ConnectionWindowSize { get; set; } = 16 * 1024 * 1024;

    /// <summary>The largest frame that a peer may send, in octets. 16,384 to 2^24-1; default 1 MiB.</summary>
    public int MaxFrameSize { get; set; } = 1024 * 1024;

    /// <summary>The largest list of headers that a server takes, in octets. At least 1,024; default 64 KiB. A client takes a quarter of it.</summary>
    public int MaxHeaderListSize { get; set; } = 64 * 1024;

    /// <summary>How many tunnels a client may have open on one connection to a server. At least 1; default 200.</summary>
    public int MaxConcurrentStreams { get; set; } = 200;

    /// <summary>Silence after which a peer gets a PING. Default 10 seconds.</summary>
    public TimeSpan KeepAliveInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a silent peer may take to answer a PING before its connection is closed. Default 20 seconds.</summary>
    public TimeSpan KeepAliveTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>How long a TCP connect may take. Default 10 seconds.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the TLS handshake and the HTTP/2 preface may take together. Default 10 seconds.</summary>
    public TimeSpan HandshakeTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Whether who reads or writes a tunnel goes on, when it had to wait, on the thread that reads or writes the connection. Default false.</summary>
    /// <remarks>
    /// Saves a thread switch for each read. Only for applications that never block there: whoever blocks holds up all tunnels of the connection. The
    /// proxies set it; <see cref="TunnelRelay"/> never blocks. <see cref="Transport.SocketTransportOptions.EventLoops"/> does the same for sockets.
    /// </remarks>
    public bool InlineCompletions { get; set; }

    /// <summary>Says what is wrong with the settings; null when nothing is.</summary>
    public string? Validate() =>
        Range(nameof(StreamWindowSize), StreamWindowSize, Http2.FlowWindow.Default, int.MaxValue)
        ?? Range(nameof(ConnectionWindowSize), ConnectionWindowSize, Http2.FlowWindow.Default, int.MaxValue)
        ?? Range(nameof(MaxFrameSize), MaxFrameSize, Http2.FrameHeader.DefaultMaxLength, Http2.FrameHeader.LargestMaxLength)
        ?? Range(nameof(MaxHeaderListSize), MaxHeaderListSize, 1024, 16 * 1024 * 1024)
        ?? Range(nameof(MaxConcurrentStreams), MaxConcurrentStreams, 1, int.MaxValue)
        ?? Positive(nameof(KeepAliveInterval), KeepAliveInterval)
        ?? Positive(nameof(KeepAliveTimeout), KeepAliveTimeout)
        ?? Positive(nameof(ConnectTimeout), ConnectTimeout)
        ?? Positive(nameof(HandshakeTimeout), HandshakeTimeout);

    internal void ThrowIfInvalid()
    {
        if (Validate() is { } error)
        {
            throw new ArgumentException(error);
        }
    }

    private static string? Range(string name, int value, int min, int max) =>
        value >= min && value <= max ? null : $"{name} is {value}; allowed are {min} to {max}";

    private static string? Positive(string name, TimeSpan value) =>
        value > TimeSpan.Zero && value <= TimeSpan.FromDays(1) ? null : $"{name} is {value}; allowed is more than nothing, up to a day";
}
