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

    private readonly MeshState _state;
    private readonly IClientAuthenticator _authenticator;
    private readonly ControlPlaneOptions _options;
    private readonly ILogger _logger;
    private readonly Catalogs _catalogs;
    private readonly NodeIdentities _nodes;
    private readonly CertificateService? _certificates;
    private int _streams;

    /// <summary>Makes a control plane.</summary>
    /// <param name="state">What it serves, now and as it changes.</param>
    /// <param name="authenticator">Who its clients are.</param>
    /// <param name="authority">What signs certificates; null to serve none.</param>
    /// <param name="options">Its settings.</param>
    /// <param name="logger">Where it speaks.</param>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public ControlPlane(MeshState state, IClientAuthenticator authenticator, DevelopmentCertificateAuthority? authority = null, ControlPlaneOptions? options = null, ILogger<ControlPlane>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(state);
        ArgumentNullException.ThrowIfNull(authenticator);
        _state = state;
        _authenticator = authenticator;
        _options = options ?? new ControlPlaneOptions();
        _options.Validate();
        _logger = logger ?? NullLogger<ControlPlane>.Instance;
        _catalogs = new Catalogs(state);
        _nodes = new NodeIdentities(state);
        _certificates = authority is null ? null : new CertificateService(_nodes, authority, _options, _logger);
    }

    /// <summary>How many streams of discovery are open.</summary>
    public int Streams => Volatile.Read(ref _streams);

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

        switch (call.Path)
        {
            case DiscoveryPath:
                await DiscoverAsync(client, call, cancellationToken);
                break;
            case CertificatePath when _certificates is not null:
                await _certificates.ServeAsync(client, call.Request, call.Response, cancellationToken);
                break;
            default:
                throw new GrpcException(GrpcStatusCode.Unimplemented, $"{call.Path} is not served");
        }
    }

    private async Task DiscoverAsync(ControlPlaneClient client, ControlPlaneCall call, CancellationToken cancellationToken)
    {
        if (Interlocked.Increment(ref _streams) > _options.MaxStreams)
        {
            Interlocked.Decrement(ref _streams);
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"{_options.MaxStreams} streams are open");
        }

        _logger.StreamOpened(client.Name, call.Peer);
        try
        {
            await new DiscoveryStream(_catalogs, _state, client, _options, _logger).RunAsync(call.Request, call.Response, cancellationToken);
        }
        finally
        {
            Interlocked.Decrement(ref _streams);
            _logger.StreamClosed(client.Name, call.Peer);
        }
    }
}
