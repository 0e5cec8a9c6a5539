using System.Net;
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
    private readonly HboneListener _listener;
    private readonly Task _accepting;

    public InboundProxy(ProxyContext context, ConnectionTracker connections, TransportListener listener)
    {
        _context = context;
        _connections = connections;
        _planner = new InboundPlanner(context.Options.IsIllegalPort);
        _listener = HboneListener.Start(listener, new HboneListenerOptions
        {
            Certificate = CertificateAsync,
            Trust = context.Certificates.TrustBundle,
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
            Error = failure.Rejection is PeerRejection.None ? failure.Reason : $"peer certificate rejected ({failure.Rejection}): {failure.Reason}",
        }).DisposeAsync().AsTask();
    }

    private async Task AcceptAsync()
    {
        while (await _listener.AcceptAsync() is { } request)
        {
            // Counted from the moment it is accepted, so that a drain waits for it.
            var tracked = _connections.Track();
            _ = Task.Run(() => HandleAsync(request, tracked));
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
            HboneAddress = request.Authority,
        }))
        {
            try
            {
                await HandleAsync(request, recording.Record, tracked);
            }
            catch (Exception e)
            {
                // One connection's trouble ends in its own line.
                recording.Record.Outcome = ConnectionOutcome.Failed;
                recording.Record.Error = e.Message;
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

        var mesh = _context.State.Current;
        Describe(record, request, mesh, local);
        var forwarded = Forwarded.Parse(request.Headers[Forwarded.HeaderName]);
        switch (_planner.Plan(mesh, local, request.LocalEndPoint.Address, request.Authority, forwarded?.Host))
        {
            case InboundPlan.Refuse refusal:
                Refuse(request, record, ConnectionOutcome.Failed, refusal.Status, refusal.Reason);
                break;
            case InboundPlan.Connect plan:
                record.DestinationService = plan.Service;
                await AuthorizeAsync(request, record, local, plan.Destination, tracked);
                break;
        }
    }

    private async Task AuthorizeAsync(HboneRequest request, ConnectionRecord record, Workload local, IPEndPoint destination, TrackedConnection tracked)
    {
        var connection = new L4Connection(request.RemoteEndPoint.Address, request.PeerIdentity, destination);
        tracked.ApplyPolicy(local, connection);
        record.Decision = L4Authorizer.Authorize(_context.State.Current.Policies, local, connection);
        foreach (var note in record.Decision.DryRun)
        {
            _context.Loggers.CreateLogger<InboundProxy>().DryRun(note);
        }

        switch (record.Decision)
        {
            case L4Decision.Denied denied:
                Refuse(request, record, ConnectionOutcome.Denied, 401, $"connection closed due to policy rejection: {denied.Reason}");
                break;
            case L4Decision.Allowed permit:
                await ForwardAsync(permit, request, record, local, destination, tracked);
                break;
        }
    }

    // Takes a permit: what has not been allowed cannot come here.
    private async Task ForwardAsync(L4Decision.Allowed permit, HboneRequest request, ConnectionRecord record, Workload local, IPEndPoint destination, TrackedConnection tracked)
    {
        ArgumentNullException.ThrowIfNull(permit);
        TransportConnection application;
        try
        {
            application = await ConnectAsync(destination, tracked.Closed);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            if (tracked.CloseReason is { Denial: { } denial } reason)
            {
                record.Decision = denial;
                Refuse(request, record, ConnectionOutcome.Denied, 401, reason.Text);
                return;
            }

            Refuse(request, record, ConnectionOutcome.Failed, 503, tracked.CloseReason?.Text ?? e.Message);
            return;
        }

        await using (application)
        {
            var headers = _context.Options.ResponseBaggage ? new HboneHeaders().Add(Baggage.HeaderName, Baggage.Of(local).ToString()) : null;
            await using var tunnel = request.Accept(headers);
            _context.AccessLog.Opened(record);
            await Relay.RunAsync(token => TunnelRelay.RunAsync(application, tunnel, record.Counters, token), record, tracked, () =>
            {
                tunnel.Abort();
                application.Abort();
            });
        }
    }

    private async Task<TransportConnection> ConnectAsync(IPEndPoint destination, CancellationToken closed)
    {
        using var deadline = new CancellationTokenSource(_context.Options.ConnectTimeout, _context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, closed);
        try
        {
            return await _context.Transport.ConnectAsync(destination, source: null, either.Token);
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new IOException($"the application at {destination} did not answer within {_context.Options.ConnectTimeout}", e);
        }
    }

    private void Describe(ConnectionRecord record, HboneRequest request, MeshSnapshot mesh, Workload local)
    {
        record.DestinationWorkload = local;
        record.DestinationIdentity = local.Identity;
        if (_context.Options.ResponseBaggage)
        {
            record.SourceBaggage = Baggage.Parse(request.Headers.GetValues(Baggage.HeaderName));
        }

        record.SourceWorkload = mesh.FindWorkload(new NetworkAddress(_context.Options.Network, request.RemoteEndPoint.Address)) is { } source
            && source.Identity == request.PeerIdentity ? source : null;
    }

    private static void Refuse(HboneRequest request, ConnectionRecord record, ConnectionOutcome outcome, int status, string reason)
    {
        record.Outcome = outcome;
        record.Error = reason;
        request.Refuse(status);
    }
}
