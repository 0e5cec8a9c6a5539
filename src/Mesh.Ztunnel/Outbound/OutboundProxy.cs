using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Outbound;

/// <summary>Takes what the workload's applications send, redirected or by SOCKS5, and carries it as the planner decides (ztunnel §7).</summary>
internal sealed class OutboundProxy : IAsyncDisposable
{
    private static readonly TimeSpan Socks5Timeout = TimeSpan.FromSeconds(10);

    private readonly CancellationTokenSource _stopAccepting = new();
    private readonly ProxyContext _context;
    private readonly ConnectionTracker _connections;
    private readonly HbonePool _pool;
    private readonly OutboundPlanner _planner;
    private readonly ILogger _logger;
    private readonly TransportListener[] _listeners;
    private readonly Task _accepting;

    public OutboundProxy(ProxyContext context, ConnectionTracker connections, HbonePool pool, TransportListener redirected, TransportListener? socks5)
    {
        _context = context;
        _connections = connections;
        _pool = pool;
        _planner = new OutboundPlanner(context.Options.HbonePort, context.Options.IsIllegalPort);
        _logger = context.Loggers.CreateLogger<OutboundProxy>();
        _listeners = socks5 is null ? [redirected] : [redirected, socks5];
        _accepting = Task.WhenAll(_listeners.Select(listener => Task.Run(() => AcceptAsync(listener, isSocks5: listener == socks5))));
    }

    public async Task StopAcceptingAsync()
    {
        await _stopAccepting.CancelAsync();
        foreach (var listener in _listeners)
        {
            await listener.DisposeAsync();
        }

        await _accepting;
    }

    public async ValueTask DisposeAsync()
    {
        await StopAcceptingAsync();
        _stopAccepting.Dispose();
    }

    private async Task AcceptAsync(TransportListener listener, bool isSocks5)
    {
        while (!_stopAccepting.IsCancellationRequested)
        {
            try
            {
                if (await listener.AcceptAsync(_stopAccepting.Token) is not { } connection)
                {
                    return;
                }

                // Counted from the moment it is accepted, so that a drain waits for it.
                var tracked = _connections.Track();
                _ = Task.Run(() => HandleAsync(connection, tracked, isSocks5));
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e)
            {
                // File descriptors used up, for one. The listener stays; a moment later there may be some.
                _logger.AcceptFailed(listener.LocalEndPoint, e);
                await Task.Delay(TimeSpan.FromMilliseconds(100), _context.Time, _stopAccepting.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task HandleAsync(TransportConnection application, TrackedConnection tracked, bool isSocks5)
    {
        using (tracked)
        await using (application)
        await using (var recording = _context.AccessLog.Begin(new ConnectionRecord { Direction = ConnectionDirection.Outbound, Source = application.RemoteEndPoint }))
        {
            var record = recording.Record;
            try
            {
                var local = await _context.LocalWorkloadAsync(tracked.Closed);
                record.SourceWorkload = local;
                var destination = isSocks5 ? await OpenSocks5Async(application, local, tracked.Closed) : application.OriginalDestination;
                record.Destination = destination;
                await CarryAsync(application, record, local, destination, tracked);
            }
            catch (Exception e)
            {
                // One connection's trouble ends in its own line.
                record.Outcome = record.SourceWorkload is null || record.Destination is null ? ConnectionOutcome.Rejected : ConnectionOutcome.Failed;
                record.Error = tracked.CloseReason?.Text ?? e.Message;
                application.Abort();
            }
        }
    }

    private async Task CarryAsync(TransportConnection application, ConnectionRecord record, Workload local, IPEndPoint destination, TrackedConnection tracked)
    {
        var mesh = _context.State.Current;
        var plan = _planner.Plan(mesh, local, OwnAddress ?? application.RemoteEndPoint.Address, destination, _context.Random);
        switch (plan)
        {
            case OutboundPlan.Hbone hbone:
                record.DestinationService = hbone.Service;
                record.DestinationWorkload = hbone.Workload;
                record.Destination = hbone.NextHop;
                record.HboneAddress = hbone.Authority;
                record.SourceIdentity = local.Identity;
                await TunnelAsync(application, record, local, hbone, tracked);
                break;
            case OutboundPlan.Tcp tcp:
                record.DestinationService = tcp.Service;
                record.DestinationWorkload = tcp.Workload;
                record.Destination = tcp.Destination;
                await PlainAsync(application, record, tcp.Destination, tracked);
                break;
            case OutboundPlan.Passthrough passthrough:
                await PlainAsync(application, record, passthrough.Destination, tracked);
                break;
            case OutboundPlan.Refused refused:
                record.DestinationService = refused.Service;
                throw new IOException(refused.Why);
        }
    }

    private async Task TunnelAsync(TransportConnection application, ConnectionRecord record, Workload local, OutboundPlan.Hbone plan, TrackedConnection tracked)
    {
        var headers = new HboneHeaders()
            .Add(Baggage.HeaderName, Baggage.Of(local).ToString())
            .Add(Forwarded.HeaderName, Forwarded.Of(application.RemoteEndPoint, plan.Service?.Hostname).ToString())
            .Add("traceparent", $"00-{RandomNumberGenerator.GetHexString(32, lowercase: true)}-{RandomNumberGenerator.GetHexString(16, lowercase: true)}-00");
        await using var tunnel = await _pool.ConnectAsync(new HboneDestination(local.Identity, plan.Peers, plan.NextHop, SourceAddress(plan.NextHop)), plan.Authority, headers, tracked.Closed);
        record.DestinationIdentity = tunnel.PeerIdentity;
        record.DestinationBaggage = Baggage.Parse(tunnel.Headers.GetValues(Baggage.HeaderName));
        _context.AccessLog.Opened(record);
        await Relay.RunAsync(token => TunnelRelay.RunAsync(application, tunnel, record.Counters, token), record, tracked, () =>
        {
            tunnel.Abort();
            application.Abort();
        });
    }

    // A proxy with an address of its own is its workload's address: peers see the connection come from there, as from a pod.
    private IPAddress? OwnAddress => _context.Workload.ListenAddress ?? _context.Options.ListenAddress;

    private IPAddress? SourceAddress(IPEndPoint nextHop)
    {
        var own = OwnAddress;
        return own is not null && own.AddressFamily == nextHop.AddressFamily && IPAddress.IsLoopback(own) == IPAddress.IsLoopback(nextHop.Address) ? own : null;
    }

    private async Task PlainAsync(TransportConnection application, ConnectionRecord record, IPEndPoint destination, TrackedConnection tracked)
    {
        using var deadline = new CancellationTokenSource(_context.Options.ConnectTimeout, _context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, tracked.Closed);
        TransportConnection remote;
        try
        {
            remote = await _context.Transport.ConnectAsync(destination, source: null, either.Token);
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new IOException($"{destination} did not answer within {_context.Options.ConnectTimeout}", e);
        }

        await using (remote)
        {
            _context.AccessLog.Opened(record);
            await Relay.RunAsync(token => TunnelRelay.RunAsync(application, remote, record.Counters, token), record, tracked, () =>
            {
                remote.Abort();
                application.Abort();
            });
        }
    }

    // The success is told before the connection is there, as ztunnel does (ztunnel §1.1).
    private async Task<IPEndPoint> OpenSocks5Async(TransportConnection application, Workload local, CancellationToken closed)
    {
        using var deadline = new CancellationTokenSource(Socks5Timeout, _context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, closed);
        try
        {
            var target = await Socks5.ReadRequestAsync(application.Stream, either.Token);
            if ((target.Address ?? await ResolveAsync(target.Hostname!, local, application.RemoteEndPoint.AddressFamily, either.Token)) is not { } address)
            {
                await Socks5.ReplyAsync(application.Stream, Socks5Reply.HostUnreachable, either.Token);
                throw new Socks5Exception($"the host name '{target.Hostname}' cannot be resolved");
            }

            await Socks5.ReplyAsync(application.Stream, Socks5Reply.Succeeded, either.Token);
            return NetworkAddress.Canonical(new IPEndPoint(address, target.Port));
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new Socks5Exception($"the SOCKS client did not complete its request within {Socks5Timeout}", e);
        }
    }

    // A service of the mesh by its name, else whatever the system's resolver says.
    private async Task<IPAddress?> ResolveAsync(string hostname, Workload local, AddressFamily family, CancellationToken cancellationToken)
    {
        var mesh = _context.State.Current;
        if (mesh.FindServiceByHostname(hostname.TrimEnd('.'), local.Namespace) is { } service)
        {
            var vips = service.Vips.Where(vip => vip.Network == local.Network).Select(vip => vip.Address);
            return Socks5.Choose(vips, family) ?? Socks5.Choose(mesh.EndpointsOf(service.Key).Values.SelectMany(endpoint => endpoint.Addresses), family);
        }

        try
        {
            return Socks5.Choose(await Dns.GetHostAddressesAsync(hostname, cancellationToken), family);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            return null;
        }
    }
}
