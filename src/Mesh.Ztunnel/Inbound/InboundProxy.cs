using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Inbound;

/// <summary>Takes tunnels to a workload, and connects those that policy allows to its application (ztunnel §8).</summary>
internal sealed class InboundProxy : IAsyncDisposable
{
    private readonly ProxyContext _context;
    private readonly ConnectionTracker _connections;
    private readonly InboundPlanner _planner;
    private readonly InboundAuthorization _authorization;
    private readonly ApplicationConnector _applications;
    private readonly HboneListener _listener;
    private readonly Task _accepting;

    public InboundProxy(ProxyContext context, ConnectionTracker connections, TransportListener listener)
    {
        _context = context;
        _connections = connections;
        _planner = new InboundPlanner(context.Options.IsIllegalPort, context.Options.RequireWaypoint, context.Options.TrustDomainAliases);
        _authorization = new InboundAuthorization(context);
        _applications = new ApplicationConnector(context, listener.IsTransparent && !context.Workload.IsOurselves);
        _listener = HboneListener.Start(listener, new HboneListenerOptions
        {
            Certificate = CertificateAsync,
            Trust = context.Certificates.TrustBundle,
            Aliases = context.Options.TrustDomainAliases,
            Hbone = context.Options.Hbone,
            ConnectionFailed = OnConnectionFailed,
            Time = context.Time,
            Logger = context.Loggers.CreateLogger<HboneListener>(),
        });
        _accepting = Task.Run(AcceptAsync);
    }

    /// <summary>Accepts no new connections and requests; completes when the last tunnel has ended.</summary>
    public Task DrainAsync(CancellationToken deadline) => _listener.DrainAsync(deadline);

    public async ValueTask DisposeAsync()
    {
        await _listener.DisposeAsync();
        await _accepting;
    }

    private async ValueTask<WorkloadCertificate> CertificateAsync(CancellationToken cancellationToken)
    {
        var local = await _context.LocalWorkloadAsync(cancellationToken);
        return await _context.Certificates.GetAsync(local.Identity, cancellationToken: cancellationToken);
    }

    // Nothing but an address is known of these, but they are told (ztunnel §10.3, early deny).
    private void OnConnectionFailed(HboneConnectionFailure failure)
    {
        _ = _context.AccessLog.Begin(new ConnectionRecord
        {
            Direction = ConnectionDirection.Inbound,
            Source = failure.RemoteEndPoint,
            Destination = failure.LocalEndPoint,
            Outcome = ConnectionOutcome.Rejected,
            Flag = failure.Rejection is PeerRejection.Revoked ? ResponseFlag.CertificateRevoked : ResponseFlag.TlsFailure,
            Error = failure.Rejection is PeerRejection.None ? failure.Reason : $"peer certificate rejected ({failure.Rejection}): {failure.Reason}",
        }).DisposeAsync().AsTask();
    }

    private async Task AcceptAsync()
    {
        while (await _listener.AcceptAsync() is { } request)
        {
            // Counted from the moment it is accepted, so that a drain waits for it.
            var tracked = _connections.Track(ConnectionDirection.Inbound);
            _ = HandleAsync(request, tracked);
        }
    }

    private async Task HandleAsync(HboneRequest request, TrackedConnection tracked)
    {
        using (tracked)
        using (request)
        await using (var recording = _context.AccessLog.Begin(new ConnectionRecord
        {
            Direction = ConnectionDirection.Inbound,
            Source = request.RemoteEndPoint,
            SourceIdentity = request.PeerIdentity,
            Destination = request.LocalEndPoint,
            HboneAddress = request.Authority.Length > TunnelTarget.MaxLength ? request.Authority[..TunnelTarget.MaxLength] : request.Authority,
        }))
        {
            tracked.Describe(recording.Record);
            try
            {
                await HandleAsync(request, recording.Record, tracked);
            }
            catch (Exception e)
            {
                // One connection's trouble ends in its own line.
                Relay.Fail(recording.Record, tracked, e);
            }
        }
    }

    private async Task HandleAsync(HboneRequest request, ConnectionRecord record, TrackedConnection tracked)
    {
        if (request.Method != "CONNECT")
        {
            Refuse(request, record, ConnectionOutcome.Rejected, 400, "the method is not CONNECT");
            return;
        }

        Workload local;
        try
        {
            local = await _context.LocalWorkloadAsync(tracked.Closed);
        }
        catch (WorkloadUnknownException e)
        {
            Refuse(request, record, ConnectionOutcome.Rejected, 503, e.Message);
            return;
        }

        using var span = ConnectionTracing.StartInbound(record, request.Headers[ConnectionTracing.HeaderName]);
        var mesh = _context.State.Current;
        Describe(record, request, mesh, local);
        var forwarded = Forwarded.Parse(request.Headers[Forwarded.HeaderName]);
        switch (_planner.Plan(mesh, local, request.LocalEndPoint.Address, request.Authority, forwarded?.Host, request.PeerIdentity))
        {
            case InboundPlan.Refuse refusal:
                Refuse(request, record, ConnectionOutcome.Failed, refusal.Status, refusal.Reason);
                break;
            case InboundPlan.Connect plan:
                record.DestinationService = plan.Service;
                var connection = new L4Connection(
                    request.RemoteEndPoint.Address, request.PeerIdentity, plan.Destination, _context.Options.TrustDomainAliases.OtherNamesOf(local.TrustDomain, request.PeerIdentity));
                if (_authorization.Authorize(record, tracked, local, connection) is { } permit)
                {
                    await ForwardAsync(permit, plan, request, record, local, tracked);
                }
                else
                {
                    request.Refuse(401);
                }

                break;
        }
    }

    // Takes a permit: what has not been allowed cannot come here.
    private async Task ForwardAsync(
        L4Decision.Allowed permit, InboundPlan.Connect plan, HboneRequest request, ConnectionRecord record, Workload local, TrackedConnection tracked)
    {
        ArgumentNullException.ThrowIfNull(permit);
        TransportConnection application;
        try
        {
            application = await _applications.ConnectAsync(plan, request.RemoteEndPoint, request.PeerIdentity, tracked.Closed);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            Relay.Fail(record, tracked, e);
            request.Refuse(record.Outcome is ConnectionOutcome.Denied ? 401 : 503);
            return;
        }

        await using (application)
        {
            var headers = _context.Options.ResponseBaggage ? new HboneHeaders().Add(Baggage.HeaderName, _context.Baggage.TextOf(local)) : null;
            await using var tunnel = request.Accept(headers);
            _context.AccessLog.Opened(record);
            if (!await Relay.RunAsync(TunnelRelay.RunAsync(application, tunnel, record.Counters, tracked.Closed), record, tracked))
            {
                tunnel.Abort();
                application.Abort();
            }
        }
    }

    private void Describe(ConnectionRecord record, HboneRequest request, MeshSnapshot mesh, Workload local)
    {
        record.DestinationWorkload = local;
        record.DestinationIdentity = local.Identity;
        if (_context.Options.ResponseBaggage)
        {
            record.SourceBaggage = _context.Baggage.Parse(request.Headers);
        }

        record.SourceWorkload = IsOfThisNetwork(request) && mesh.FindWorkload(new NetworkAddress(_context.Options.Network, request.RemoteEndPoint.Address)) is { } source
            && _context.Options.TrustDomainAliases.AreSame(local.TrustDomain, source.Identity, request.PeerIdentity) ? source : null;
    }

    // A client of another network comes through its gateway, whose address says nothing about it (ztunnel §2.4).
    private bool IsOfThisNetwork(HboneRequest request) => request.Headers[Forwarded.NetworkHeaderName] is not { } network
        || network.Equals(_context.Options.Network, StringComparison.OrdinalIgnoreCase);

    private static void Refuse(HboneRequest request, ConnectionRecord record, ConnectionOutcome outcome, int status, string reason)
    {
        record.Fail(outcome, status == 401 ? ResponseFlag.Deny : ResponseFlag.Connect, reason);
        request.Refuse(status);
    }
}
