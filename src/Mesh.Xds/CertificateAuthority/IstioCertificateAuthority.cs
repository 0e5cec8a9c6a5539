using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Google.Protobuf.WellKnownTypes;
using Mesh.Core.Identity;
using Mesh.Xds.Grpc;
using Mesh.Xds.Protos;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>The certificate authority of an Istio mesh: istiod, or whatever serves <c>istio.v1.auth.IstioCertificateService</c> (ztunnel §4).</summary>
/// <remarks>
/// A key never leaves the process; the authority gets a signing request. The roots of each answer become those of the identity's trust domain.
/// The authority's own roots are read again for every request, and a new connection is made when they differ. Thread-safe.
/// </remarks>
public sealed class IstioCertificateAuthority : ICertificateAuthority, IDisposable
{
    // A chain and its roots; ten thousand times what one has.
    private const int MaxMessageSize = 4 * 1024 * 1024;
    private const int MaxChain = 16;

    private static readonly GrpcMethod<IstioCertificateRequest, IstioCertificateResponse> Method =
        new("istio.v1.auth.IstioCertificateService", "CreateCertificate", IstioCertificateResponse.Parser);

    private readonly Lock _gate = new();
    private readonly IstioCertificateAuthorityOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Dictionary<TrustDomain, string> _roots = [];
    private SharedChannel? _channel;
    private string? _channelRoots;
    private string? _channelCertificate;
    private bool _disposed;

    /// <summary>Makes a client; it connects for the first certificate.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public IstioCertificateAuthority(IstioCertificateAuthorityOptions options, TimeProvider? time = null, ILogger<IstioCertificateAuthority>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Lifetime, TimeSpan.FromSeconds(1));
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(options.Timeout, TimeSpan.Zero);
        _options = options;
        _time = time ?? TimeProvider.System;
        _logger = logger ?? NullLogger<IstioCertificateAuthority>.Instance;
    }

    /// <inheritdoc/>
    public TrustBundle TrustBundle { get; } = new();

    /// <inheritdoc/>
    public async Task<WorkloadCertificate> IssueAsync(SpiffeId identity, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(identity);
        using var signingRequest = new CertificateSigningRequest(identity);
        var request = new IstioCertificateRequest { Csr = signingRequest.Pem, ValidityDuration = (long)_options.Lifetime.TotalSeconds };
        if (_options.Impersonate)
        {
            request.Metadata = new Struct { Fields = { ["ImpersonatedIdentity"] = Value.ForString(identity.ToString()) } };
        }

        IstioCertificateResponse response;
        try
        {
            var metadata = await BearerToken.MetadataAsync(_options.Endpoint, cancellationToken);
            using var channel = Lease();
            response = await channel.Channel.CallAsync(Method, request, new GrpcCallOptions(metadata, _options.Timeout), cancellationToken);
        }
        catch (Exception e) when (e is GrpcException or IOException or UnauthorizedAccessException)
        {
            throw new CertificateAuthorityException($"{_options.Endpoint.Address.Authority} signed no certificate for {identity}: {e.Message}", e);
        }

        return Read(identity, signingRequest, response);
    }

    /// <summary>Closes the connection. The trust bundle stays usable.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            _channel?.Release();
            _channel = null;
        }
    }

    private SharedChannel.Lease Lease()
    {
        string? roots = null;
        Exception? fault = null;
        try
        {
            roots = ServerRoots.Read(_options.Endpoint.RootCertificates);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            fault = e;
        }

        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var certificate = _options.Endpoint.ClientCertificate?.Invoke()?.Thumbprint;
            if (_channel is null || (fault is null && (roots, certificate) != (_channelRoots, _channelCertificate)))
            {
                try
                {
                    var next = fault is null
                        ? new SharedChannel(ControlPlaneChannel.Create(_options.Endpoint, roots, MaxMessageSize, _time))
                        : throw new IOException(fault.Message, fault);
                    _channel?.Release();
                    _channel = next;
                    (_channelRoots, _channelCertificate) = (roots, certificate);
                }
                catch (IOException e) when (_channel is not null)
                {
                    // ztunnel §3.7: the old connection is better than none; the next request looks again.
                    _logger.RootsUnusable(_options.Endpoint.RootCertificates.Length > 256 ? "(PEM)" : _options.Endpoint.RootCertificates, e.Message);
                }
            }

            return _channel.Take();
        }
    }

    // The leaf first, the roots last, in one element however many they are (ztunnel §4).
    private WorkloadCertificate Read(SpiffeId identity, CertificateSigningRequest signingRequest, IstioCertificateResponse response)
    {
        var chain = response.CertChain;
        if (chain.Count is < 2 or > MaxChain)
        {
            throw new CertificateAuthorityException($"the authority answered a request for {identity} with a chain of {chain.Count} elements; needed are the certificate and the roots, and {MaxChain} are allowed");
        }

        var roots = new X509Certificate2Collection();
        WorkloadCertificate certificate;
        try
        {
            roots.ImportFromPem(chain[^1]);
            using var signed = X509Certificate2.CreateFromPem(chain[0]);
            certificate = new WorkloadCertificate(signingRequest.Complete(signed), chain.Skip(1).SkipLast(1).Select(pem => X509Certificate2.CreateFromPem(pem)));
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new CertificateAuthorityException($"the authority answered a request for {identity} with a certificate that cannot be used: {e.Message}", e);
        }

        if (certificate.Identity == identity && roots.Count > 0)
        {
            Trust(identity.TrustDomain, chain[^1], roots);
            return certificate;
        }

        using (certificate)
        {
            throw new CertificateAuthorityException(roots.Count == 0
                ? $"the authority answered a request for {identity} without a root certificate"
                : $"the authority answered a request for {identity} with a certificate of {certificate.Identity}");
        }
    }

    // Only a change is one: connections are looked at again for each.
    private void Trust(TrustDomain trustDomain, string pem, X509Certificate2Collection roots)
    {
        lock (_roots)
        {
            if (_roots.TryGetValue(trustDomain, out var known) && known == pem)
            {
                return;
            }

            // Within the lock: of two answers the later one is to stay.
            _roots[trustDomain] = pem;
            TrustBundle.Replace(trustDomain, roots);
        }

        _logger.RootsChanged(trustDomain, roots.Count);
    }

    /// <summary>A channel that closes when it is no longer the current one and the last call has ended.</summary>
    private sealed class SharedChannel(IGrpcChannel channel)
    {
        private int _users = 1;

        public Lease Take()
        {
            Interlocked.Increment(ref _users);
            return new Lease(this);
        }

        public void Release()
        {
            if (Interlocked.Decrement(ref _users) == 0)
            {
                channel.Dispose();
            }
        }

        public readonly struct Lease(SharedChannel shared) : IDisposable
        {
            public IGrpcChannel Channel => shared.Channel;

            public void Dispose() => shared.Release();
        }

        private IGrpcChannel Channel => channel;
    }
}
