using System.Net;
using System.Net.Sockets;
using Mesh.Hbone.Transport;

namespace Mesh.Ztunnel.Dns;

/// <summary>The DNS proxy of one workload (ztunnel §11): answers for the names of the mesh, and asks upstream servers for all others.</summary>
/// <remarks>
/// <code>
/// client -> DnsUdpServer or DnsTcpServer -> DnsRequest.Read -> DnsHandler -> DnsResolver decides
///                                                                |            local: the addresses of a service
///                                                                |            forward: DnsForwarder -> DnsCache, or DnsUpstream
///        &lt;- DnsResponse.Write &lt;----------------------------------+
/// </code>
/// </remarks>
internal sealed class DnsProxy : IAsyncDisposable
{
    private readonly DnsContext _context;
    private readonly DnsHandler _handler;
    private readonly List<DnsUdpServer> _udp = [];
    private readonly List<DnsTcpServer> _tcp = [];

    /// <summary>Takes every address over UDP and TCP, or none.</summary>
    /// <param name="context">What it works with.</param>
    /// <param name="addresses">Where it takes questions. Not a wildcard where the machine has several addresses: an answer must come from where it was asked.</param>
    /// <exception cref="ArgumentException">A setting is wrong; the message names it, its value and what is allowed.</exception>
    /// <exception cref="IOException">An address cannot be had; the message names it.</exception>
    public DnsProxy(DnsContext context, IEnumerable<IPEndPoint> addresses)
    {
        context.Options.ThrowIfInvalid();
        var sockets = new List<Socket>();
        var listeners = new List<TransportListener>();
        try
        {
            foreach (var address in addresses)
            {
                sockets.Add(Bind(context, address));

                // The system may have chosen the port, and it is to be the same.
                listeners.Add(context.Transport.Listen((IPEndPoint)sockets[^1].LocalEndPoint!));
            }
        }
        catch
        {
            sockets.ForEach(socket => socket.Dispose());
            listeners.ForEach(listener => _ = listener.DisposeAsync().AsTask());
            throw;
        }

        _context = context;
        _handler = new DnsHandler(context);
        var connections = new Quota(context.Options.MaxTcpConnections);
        _udp.AddRange(sockets.Select(socket => new DnsUdpServer(context, _handler, socket)));
        _tcp.AddRange(listeners.Select(listener => new DnsTcpServer(context, _handler, listener, connections)));
    }

    /// <summary>Where it takes questions, with the ports that the system chose when it was to choose.</summary>
    public IReadOnlyList<IPEndPoint> LocalEndPoints => [.. _udp.Select(server => server.LocalEndPoint)];

    /// <summary>Takes no further questions, and finishes what is under way in the time that the options allow for it; then ends it.</summary>
    public async ValueTask DisposeAsync()
    {
        using var deadline = new CancellationTokenSource(_context.Options.DrainTimeout, _context.Time);
        await StopAsync(deadline.Token);
    }

    /// <summary>Takes no further questions, and finishes what is under way until the deadline; then ends it.</summary>
    public async Task StopAsync(CancellationToken deadline)
    {
        await Task.WhenAll([.. _udp.Select(EndUdpAsync), .. _tcp.Select(EndTcpAsync)]);
        await _handler.DisposeAsync();

        // Each as soon as it has answered: the system would go on giving it questions that the next proxy is there for.
        async Task EndUdpAsync(DnsUdpServer server)
        {
            await server.StopAsync(deadline);
            await server.DisposeAsync();
        }

        async Task EndTcpAsync(DnsTcpServer server)
        {
            await server.StopAsync(deadline);
            await server.DisposeAsync();
        }
    }

    private static Socket Bind(DnsContext context, IPEndPoint address)
    {
        try
        {
            return context.OpenUdp(address);
        }
        catch (SocketException e)
        {
            throw new IOException($"cannot listen on {address} over UDP: {e.Message}", e);
        }
    }
}
