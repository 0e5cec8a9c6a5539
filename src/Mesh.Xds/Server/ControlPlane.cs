using System.Globalization;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Xds.Grpc;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Xds.Server;

/// <summary>A small control plane for any <see cref="MeshState"/>: delta discovery of workloads, services and policies, and the certificates of workloads.</summary>
/// <remarks>
/// <list type="number">
/// <item>Whoever calls must prove to be a client that the authenticator knows.</item>
/// <item>A change of the state reaches every client as the resources that changed, and no others.</item>
/// <item>A client gets certificates of the workloads that run on its node, and of identities that are its own.</item>
/// </list>
/// It knows no server: Mesh.AspNetCore puts it behind Kestrel. Thread-safe.
/// </remarks>
public sealed class ControlPlane : IDisposable
{
    /// <summary>The path of delta discovery.</summary>
    public const string DiscoveryPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

    /// <summary>The path of the certificate service.</summary>
    public const string CertificatePath = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

    private static readonly TimeSpan SignTimeout = TimeSpan.FromSeconds(30);

    private readonly MeshState _state;
    private readonly IClientAuthenticator _authenticator;
    private readonly ControlPlaneOptions _options;
    private readonly ILogger _logger;
    private readonly Catalogs _catalogs;
    private readonly NodeIdentities _nodes;
    private readonly CertificateService? _certificates;
    private readonly CallLimit _streams;
    private readonly CallLimit _signings;
    private readonly TimeProvider _time;

    /// <summary>Makes a control plane.</summary>
    /// <param name="state">What it serves, now and as it changes.</param>
    /// <param name="authenticator">Who its clients are.</param>
    /// <param name="authority">What signs certificates; null to serve none.</param>
    /// <param name="options">Its settings.</param>
    /// <param name="logger">Where it speaks.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public ControlPlane(MeshState state, IClientAuthenticator authenticator, DevelopmentCertificateAuthority? authority = null, ControlPlaneOptions? options = null, ILogger<ControlPlane>? logger = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(state);
        ArgumentNullException.ThrowIfNull(authenticator);
        _state = state;
        _authenticator = authenticator;
        _options = options ?? new ControlPlaneOptions();
        _options.Validate();
        _streams = new CallLimit("streams", _options.MaxStreams, _options.MaxStreamsPerClient);
        _signings = new CallLimit("requests for certificates", int.MaxValue, _options.MaxCertificateRequestsPerClient);
        _time = time ?? TimeProvider.System;
        _logger = logger ?? NullLogger<ControlPlane>.Instance;
        // Before the catalogs: who hears of its workload may ask for the certificate at once.
        _nodes = new NodeIdentities(state);
        _catalogs = new Catalogs(state);
        _certificates = authority is null ? null : new CertificateService(_nodes, authority, _options, _logger);
    }

    /// <summary>How many streams of discovery are open.</summary>
    public int Streams => _streams.Open;

    /// <summary>Serves one call to its end, and sets the trailers that say how it ended. Throws nothing but what cancellation does.</summary>
    public async Task ServeAsync(ControlPlaneCall call, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(call);
        var status = (Code: GrpcStatusCode.Ok, Detail: "");
        try
        {
            await DispatchAsync(call, cancellationToken);
        }
        catch (GrpcException e)
        {
            status = (e.Status, e.Detail);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // What went wrong inside is for our log; the client hears that it did.
            _logger.CallFailed(call.Path, call.Peer, e);
            status = (GrpcStatusCode.Internal, "the control plane failed");
        }

        call.SetTrailer(GrpcStatusFields.Status, ((int)status.Code).ToString(CultureInfo.InvariantCulture));
        if (status.Detail.Length > 0)
        {
            call.SetTrailer(GrpcStatusFields.Message, GrpcStatusFields.Encode(status.Detail));
        }
    }

    /// <summary>Stops following the state. Streams that are open end with their calls.</summary>
    public void Dispose()
    {
        _catalogs.Dispose();
        _nodes.Dispose();
    }

    private async Task DispatchAsync(ControlPlaneCall call, CancellationToken cancellationToken)
    {
        if (_authenticator.Authenticate(call) is not { } client)
        {
            _logger.ClientUnknown(call.Peer, call.Path);
            throw new GrpcException(GrpcStatusCode.Unauthenticated, "neither a token nor a certificate of a known client");
        }

        try
        {
            await (call.Path switch
            {
                DiscoveryPath => DiscoverAsync(client, call, cancellationToken),
                CertificatePath when _certificates is not null => SignAsync(client, call, cancellationToken),
                _ => throw new GrpcException(GrpcStatusCode.Unimplemented, $"{call.Path} is not served"),
            });
        }
        catch (IOException e)
        {
            // The client has gone without a word.
            _logger.ClientGone(call.Path, call.Peer, e.Message);
            throw new GrpcException(GrpcStatusCode.Unavailable, "the stream broke", e);
        }
    }

    private async Task SignAsync(ControlPlaneClient client, ControlPlaneCall call, CancellationToken cancellationToken)
    {
        _signings.Enter(client.Name);
        using var deadline = new CancellationTokenSource(SignTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await _certificates!.ServeAsync(client, call.Request, call.Response, either.Token);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new GrpcException(GrpcStatusCode.DeadlineExceeded, $"the request did not come within {SignTimeout}", e);
        }
        finally
        {
            _signings.Leave(client.Name);
        }
    }

    private async Task DiscoverAsync(ControlPlaneClient client, ControlPlaneCall call, CancellationToken cancellationToken)
    {
        _streams.Enter(client.Name);
        _logger.StreamOpened(client.Name, call.Peer);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var watching = WatchAsync(client, call, end);
        try
        {
            await new DiscoveryStream(_catalogs, _state, client, _options, _time, _logger).RunAsync(call.Request, call.Response, end.Token);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new GrpcException(GrpcStatusCode.Unauthenticated, "the token or certificate is not that of the client any more", e);
        }
        finally
        {
            await end.CancelAsync();
            await watching.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _streams.Leave(client.Name);
            _logger.StreamClosed(client.Name, call.Peer);
        }
    }

    // A stream may be open for days; who it is for can be taken from the list of clients meanwhile.
    private async Task WatchAsync(ControlPlaneClient client, ControlPlaneCall call, CancellationTokenSource end)
    {
        using var timer = new PeriodicTimer(_options.AuthenticationInterval, _time);
        while (await timer.WaitForNextTickAsync(end.Token))
        {
            if (!IsStill(client, call))
            {
                await end.CancelAsync();
                return;
            }
        }
    }

    private bool IsStill(ControlPlaneClient client, ControlPlaneCall call)
    {
        try
        {
            return _authenticator.Authenticate(call) is { } now && now.Name == client.Name && now.Node == client.Node && now.Identities.SequenceEqual(client.Identities);
        }
        catch (Exception e)
        {
            // Nobody can say who it is.
            _logger.CallFailed(call.Path, call.Peer, e);
            return false;
        }
    }
}
