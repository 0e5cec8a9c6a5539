using System.Net;
using System.Runtime.ExceptionServices;
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
    private readonly ProxyContext _context;
    private readonly HbonePool _pool;
    private readonly OutboundPlanner _planner;
    private readonly TrafficManager _traffic;
    private readonly HostResolver _resolver;
    private readonly KnownDestination _known;
    private readonly ILogger _logger;
    private readonly Acceptor[] _acceptors;

    public OutboundProxy(ProxyContext context, ConnectionTracker connections, HbonePool pool, TransportListener redirected, TransportListener? socks5)
    {
        _context = context;
        _pool = pool;
        _planner = new OutboundPlanner(context.Options.HbonePort, port => context.Options.IsIllegalPort(port) || port == context.Options.AdminPort, context.Options.TrustDomainAliases);
        _traffic = new TrafficManager(context.Time);
        _resolver = new HostResolver(context);
        _known = new KnownDestination(context);
        _logger = context.Loggers.CreateLogger<OutboundProxy>();
        _acceptors = [Accept(redirected, isSocks5: false), .. socks5 is null ? [] : new[] { Accept(socks5, isSocks5: true) }];

        Acceptor Accept(TransportListener listener, bool isSocks5) => new(
            listener, connections, ConnectionDirection.Outbound, context.Time, _logger, (connection, tracked) => HandleAsync(connection, tracked, isSocks5));
    }

    /// <summary>Stops accepting; what is open goes on.</summary>
    public async ValueTask DisposeAsync() => await Task.WhenAll(_acceptors.Select(acceptor => acceptor.DisposeAsync().AsTask()));

    // A proxy with an address of its own is its workload's address: peers see the connection come from there, as from a pod.
    private IPAddress? OwnAddress => _context.Workload.ListenAddress ?? _context.Options.ListenAddress;

    private async Task HandleAsync(TransportConnection application, TrackedConnection tracked, bool isSocks5)
    {
        using (tracked)
        await using (application)
        await using (var recording = _context.AccessLog.Begin(new ConnectionRecord { Direction = ConnectionDirection.Outbound, Source = application.RemoteEndPoint }))
        {
            var record = recording.Record;
            tracked.Describe(record);
            try
            {
                // Known first, so that whatever is refused says where it meant to go.
                record.Destination = isSocks5 ? null : application.OriginalDestination;
                var local = await _context.LocalWorkloadAsync(tracked.Closed);
                record.SourceWorkload = local;
                record.Destination ??= await Socks5.OpenAsync(application, hostname => _resolver.ResolveAsync(hostname, local, application.RemoteEndPoint.AddressFamily, tracked.Closed), _context.Time, tracked.Closed);
                record.OriginalDestination = record.Destination;
                await CarryAsync(application, record, local, record.Destination, tracked);
            }
            catch (Exception e)
            {
                // One connection's trouble ends in its own line.
                Relay.Fail(record, tracked, e);
                application.Abort();
            }
        }
    }

    private async Task CarryAsync(TransportConnection application, ConnectionRecord record, Workload local, IPEndPoint destination, TrackedConnection tracked)
    {
        using var span = ConnectionTracing.StartOutbound(record, local, destination);
        using var admission = new Admission();
        await using var hop = await ConnectAsync(application, record, local, destination, admission, span.TraceParent, tracked.Closed);
        _context.AccessLog.Opened(record);
        await hop.RelayAsync(application, record, tracked);
    }

    // Apart from the relay, so that a connection that goes on for long does not hold the mesh as it was when it came.
    private async Task<OutboundHop> ConnectAsync(
        TransportConnection application, ConnectionRecord record, Workload local, IPEndPoint destination, Admission admission, string? traceParent, CancellationToken closed)
    {
        await _known.EnsureAsync(local, destination, closed);
        HashSet<string>? tried = null;
        ExceptionDispatchInfo? failure = null;
        while (true)
        {
            var mesh = _context.State.Current;
            var plan = _planner.Plan(mesh, local, OwnAddress ?? application.RemoteEndPoint.Address, destination, _context.Random, _traffic.Excluded(tried));
            if (plan is OutboundPlan.Unresolved unresolved)
            {
                plan = unresolved.With(await _resolver.ResolveAsync(unresolved, local, destination.AddressFamily, closed));
            }

            if (plan is OutboundPlan.Refused refused)
            {
                // No other endpoint is left: what the last one failed of is the reason.
                failure?.Throw();
                record.DestinationService = refused.Service;
                record.Why = refused.Why;
                _logger.Refused(plan);
                throw new RefusedException(refused);
            }

            record.Retries += failure is null ? 0 : 1;
            var service = Describe(record, plan, local);
            admission.Take(() => _traffic.Admit(service));
            var endpoint = record.DestinationWorkload;
            try
            {
                var hop = await AttemptAsync(application, record, local, plan, traceParent, closed);
                if (endpoint is not null)
                {
                    _traffic.Succeeded(service, endpoint);
                }

                return hop;
            }
            catch (IOException e) when (endpoint is not null && IsConnectFailure(e))
            {
                if (_traffic.Failed(mesh, service, endpoint))
                {
                    _logger.EndpointEjected(endpoint.Uid, service!.Key, e.Message);
                }

                if (record.Retries >= (service?.TrafficPolicy?.ConnectRetries ?? 0))
                {
                    throw;
                }

                failure = ExceptionDispatchInfo.Capture(e);
                (tried ??= []).Add(endpoint.Uid);
            }
        }
    }

    private static Service? Describe(ConnectionRecord record, OutboundPlan plan, Workload local)
    {
        record.Why = plan.Why;
        (record.Destination, record.HboneAddress, record.DestinationWorkload, record.DestinationService) = plan switch
        {
            OutboundPlan.Hbone hbone => (hbone.NextHop, hbone.Authority, hbone.Workload, hbone.Service),
            OutboundPlan.DoubleHbone far => (far.NextHop, far.Authority, far.Workload, far.Service),
            OutboundPlan.Tcp tcp => (tcp.Destination, null, tcp.Workload, tcp.Service),
            OutboundPlan.Passthrough passthrough => (passthrough.Destination, null, null, null),
            _ => throw new InvalidOperationException($"a plan of type {plan.GetType().Name} is not carried out"),
        };
        record.SourceIdentity = record.HboneAddress is null ? null : local.Identity;
        return record.DestinationService;
    }

    private async Task<OutboundHop> AttemptAsync(
        TransportConnection application, ConnectionRecord record, Workload local, OutboundPlan plan, string? traceParent, CancellationToken closed)
    {
        var timeout = record.DestinationService?.TrafficPolicy?.ConnectTimeout ?? (plan is OutboundPlan.Hbone or OutboundPlan.DoubleHbone ? Timeout.InfiniteTimeSpan : _context.Options.ConnectTimeout);
        using var deadline = timeout == Timeout.InfiniteTimeSpan ? null : new CancellationTokenSource(timeout, _context.Time);
        using var either = deadline is null ? null : CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, closed);
        var ended = either?.Token ?? closed;
        try
        {
            return plan switch
            {
                OutboundPlan.Hbone hbone => Tunnelled(record, await _pool.ConnectAsync(
                    new HboneDestination(local.Identity, hbone.Peers, hbone.NextHop, SourceAddress(hbone.NextHop)),
                    hbone.Authority,
                    Headers(application, local, hbone.Service, traceParent),
                    ended)),
                OutboundPlan.DoubleHbone far => Tunnelled(record, await _pool.ConnectAsync(
                    new HboneDestination(new HboneDestination(local.Identity, far.GatewayPeers, far.NextHop, SourceAddress(far.NextHop)), far.Authority, far.Peers) { Capacity = far.Capacity },
                    far.Authority,
                    Headers(application, local, far.Service, traceParent).Add(Forwarded.NetworkHeaderName, _context.Options.Network),
                    ended), isBehindGateway: true),
                _ => new OutboundHop(await _context.Transport.ConnectAsync(record.Destination!, source: null, ended)),
            };
        }
        catch (OperationCanceledException e) when (deadline is { IsCancellationRequested: true } && !closed.IsCancellationRequested)
        {
            throw plan is OutboundPlan.Hbone or OutboundPlan.DoubleHbone
                ? new HboneException(HboneError.ConnectFailed, $"{record.Destination} opened no tunnel within {timeout}, the service's connectTimeout", e)
                : new IOException($"{record.Destination} did not answer within {timeout}", e);
        }
    }

    private OutboundHop Tunnelled(ConnectionRecord record, HboneTunnel tunnel, bool isBehindGateway = false)
    {
        record.DestinationIdentity = tunnel.PeerIdentity;
        record.DestinationBaggage = _context.Baggage.Parse(tunnel.Headers);

        // What the gateway leads to is known by what it says of itself alone (ztunnel §2.10).
        record.DestinationWorkload = isBehindGateway && record.DestinationBaggage is not null ? null : record.DestinationWorkload;
        return new OutboundHop(tunnel);
    }

    private HboneHeaders Headers(TransportConnection application, Workload local, Service? service, string? traceParent) => new HboneHeaders()
        .Add(Baggage.HeaderName, _context.Baggage.TextOf(local))
        .Add(Forwarded.HeaderName, Forwarded.Of(application.RemoteEndPoint, service?.Hostname).ToString())
        .Add(ConnectionTracing.HeaderName, traceParent ?? ConnectionTracing.NewTraceParent(_context.Random));

    private IPAddress? SourceAddress(IPEndPoint nextHop)
    {
        var own = OwnAddress;
        return own is not null && own.AddressFamily == nextHop.AddressFamily && IPAddress.IsLoopback(own) == IPAddress.IsLoopback(nextHop.Address) ? own : null;
    }

    // What another endpoint might do better. A peer that is not who it should be, or that refuses by policy, is no such thing.
    private static bool IsConnectFailure(IOException e) => e is not (RefusedException or LimitReachedException) && e is not HboneException
    {
        Error: HboneError.PeerRejected or HboneError.PeerRevoked or HboneError.IdentityUnavailable or HboneError.Aborted or HboneError.NotInMesh or HboneError.ProtocolError,
    } and not HboneException { Error: HboneError.Refused, Status: not 503 };

    /// <summary>What lets a connection count among those of its service, from the first attempt to the end.</summary>
    private sealed class Admission : IDisposable
    {
        private IDisposable? _taken;
        private bool _isTaken;

        public void Take(Func<IDisposable?> admit)
        {
            if (!_isTaken)
            {
                _taken = admit();
                _isTaken = true;
            }
        }

        public void Dispose() => _taken?.Dispose();
    }
}
