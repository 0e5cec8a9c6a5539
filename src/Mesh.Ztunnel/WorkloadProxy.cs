using System.Net;
using System.Security.Cryptography;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Dns;
using Mesh.Ztunnel.Inbound;
using Mesh.Ztunnel.Outbound;
using Mesh.Ztunnel.Passthrough;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>The complete proxy of one workload: its listeners, its pool of connections, its open connections (ztunnel §0).</summary>
internal sealed class WorkloadProxy : IWorkloadProxy
{
    // Longer than a handshake of TCP takes on a node, with one packet lost.
    private static readonly TimeSpan HandOverTime = TimeSpan.FromMilliseconds(500);

    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly List<TransportListener> _listeners = [];
    private readonly ConnectionTracker _connections;
    private readonly HbonePool _pool;
    private readonly InboundProxy? _inbound;
    private readonly InboundPassthrough? _passthrough;
    private readonly OutboundProxy? _outbound;
    private readonly DnsProxy? _dns;

    /// <summary>Takes every port, or none: whatever cannot be listened on fails the whole (ztunnel §1).</summary>
    /// <exception cref="IOException">A port cannot be had; the message names it.</exception>
    public WorkloadProxy(ProxyContext context)
    {
        var options = context.Options;
        _logger = context.Loggers.CreateLogger<WorkloadProxy>();
        _time = context.Time;
        var address = context.Workload.ListenAddress ?? options.ListenAddress;
        try
        {
            var inbound = options.ProxyEnabled ? Listen(address ?? options.Wildcard, options.HbonePort) : null;
            var passthrough = options.ProxyEnabled ? Listen(address ?? options.Wildcard, options.InboundPassthroughPort) : null;
            var outbound = options.ProxyEnabled ? Listen(address ?? options.Wildcard, options.OutboundPort) : null;
            var socks5 = options is { ProxyEnabled: true, Socks5Enabled: true } ? Listen(OwnOnly(address), options.Socks5Port) : null;

            // The last that can fail: nothing has begun before it.
            _dns = options.DnsProxyEnabled && context.Transport is SocketTransportFactory sockets ? StartDns(context, sockets, address) : null;
            _connections = new ConnectionTracker(context.State);
            _pool = new HbonePool(
                new HboneClient(
                    context.Certificates, options.Hbone, context.Transport, context.Time, context.Loggers.CreateLogger<HboneClient>(), options.TrustDomainAliases),
                options.Pool);
            _inbound = inbound is null ? null : new InboundProxy(context, _connections, inbound);
            _passthrough = passthrough is null ? null : new InboundPassthrough(context, _connections, passthrough);
            _outbound = outbound is null ? null : new OutboundProxy(context, _connections, _pool, outbound, socks5);
        }
        catch
        {
            foreach (var listener in _listeners)
            {
                _ = listener.DisposeAsync().AsTask();
            }

            throw;
        }

        TransportListener Listen(IPAddress address, int port)
        {
            var listener = context.Transport.Listen(new IPEndPoint(address, port));
            _listeners.Add(listener);
            return listener;
        }
    }

    public TrackedConnection[] Connections => _connections.Open();

    public async Task StopAsync(CancellationToken deadline)
    {
        try
        {
            // What begins from now on is for the ztunnel that follows; what has begun with us still comes.
            var isHandedOver = false;
            foreach (var listener in _listeners)
            {
                isHandedOver |= listener.HandOver();
            }

            if (isHandedOver)
            {
                await Task.Delay(HandOverTime, _time, deadline);
            }

            await Task.WhenAll(_inbound?.DrainAsync(deadline) ?? Task.CompletedTask, DisposeOfAsync(_passthrough), DisposeOfAsync(_outbound), _dns?.StopAsync(deadline) ?? Task.CompletedTask);

            // Last, for only now no further ones come.
            await _connections.WhenEmptyAsync().WaitAsync(deadline);
        }
        catch (OperationCanceledException)
        {
            foreach (var open in _connections.Open())
            {
                _logger.CutAtDeadline(open.Direction.ToString().ToLowerInvariant(), open.Record?.Source, open.Record?.Destination, open.Record?.BytesSent ?? 0, open.Record?.BytesReceived ?? 0);
            }

            _connections.CloseAll();
        }
    }

    public async ValueTask DisposeAsync()
    {
        _connections.CloseAll();
        await Task.WhenAll(
            DisposeOfAsync(_outbound),
            DisposeOfAsync(_passthrough),
            DisposeOfAsync(_inbound),
            _dns?.StopAsync(new CancellationToken(canceled: true)) ?? Task.CompletedTask);

        // What was accepted meanwhile.
        _connections.CloseAll();
        await _connections.WhenEmptyAsync();
        await _pool.DisposeAsync();
        _connections.Dispose();
    }

    // What is for programs of the workload alone must not be open to others.
    private static IPAddress OwnOnly(IPAddress? address) => address is not null && IPAddress.IsLoopback(address) ? address : IPAddress.Loopback;

    private static Task DisposeOfAsync(IAsyncDisposable? part) => part?.DisposeAsync().AsTask() ?? Task.CompletedTask;

    private static DnsProxy StartDns(ProxyContext context, SocketTransportFactory sockets, IPAddress? address)
    {
        var options = context.Options;
        IPAddress[] addresses = options.DnsAddress is { } chosen ? [chosen]
            : address is not null && IPAddress.IsLoopback(address) ? [address]
            : options.IPv6Enabled && sockets.CanBind(IPAddress.IPv6Loopback) ? [IPAddress.Loopback, IPAddress.IPv6Loopback]
            : [IPAddress.Loopback];
        return new DnsProxy(
            new DnsContext(
                options.Dns, context.State, context.LocalWorkloadAsync, sockets, sockets.BindDatagram, context.DnsMetrics, context.Time, context.Random, RandomNumberGenerator.Create(), context.Loggers),
            addresses.Select(loopback => new IPEndPoint(loopback, options.DnsPort)));
    }
}
