using System.Net.Security;
using System.Security.Authentication;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Transport;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Hbone.Client;

/// <summary>Opens tunnels, each on a connection of its own. To share connections, put an <see cref="HbonePool"/> in front of it.</summary>
public sealed class HboneClient
{
    private readonly WorkloadCertificates _certificates;
    private readonly TransportFactory _transport;
    private readonly HboneOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly PeerWatch _peers;
    private readonly TrustDomainAliases _aliases;

    /// <summary>Makes a client.</summary>
    /// <param name="certificates">Where its certificates come from, and the roots that servers' certificates must end in.</param>
    /// <param name="options">Windows, limits and times.</param>
    /// <param name="transport">What it connects with; sockets when null.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it speaks.</param>
    /// <param name="aliases">Other names of the trust domain of its certificates: a server may be one of the expected under any of them. None when null.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public HboneClient(
        WorkloadCertificates certificates,
        HboneOptions? options = null,
        TransportFactory? transport = null,
        TimeProvider? time = null,
        ILogger<HboneClient>? logger = null,
        TrustDomainAliases? aliases = null)
    {
        ArgumentNullException.ThrowIfNull(certificates);
        _certificates = certificates;
        _peers = new PeerWatch(certificates.TrustBundle);
        _options = options ?? new HboneOptions();
        _options.ThrowIfInvalid();
        _transport = transport ?? new SocketTransportFactory();
        _time = time ?? TimeProvider.System;
        _logger = logger ?? NullLogger<HboneClient>.Instance;
        _aliases = aliases ?? TrustDomainAliases.None;
    }

    internal TimeProvider Time => _time;

    internal WorkloadCertificates Certificates => _certificates;

    /// <summary>Connects and opens one tunnel; the connection ends with it.</summary>
    /// <param name="destination">The server, and who we are to it.</param>
    /// <param name="authority">The target behind the server: <c>address:port</c> or <c>host:port</c>.</param>
    /// <param name="headers">Headers of the request.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="HboneException">There is no tunnel; the error says at which step it failed.</exception>
    /// <exception cref="ArgumentException">The authority is empty or contains what cannot stand in a header.</exception>
    public async Task<HboneTunnel> ConnectAsync(HboneDestination destination, string authority, HboneHeaders? headers = null, CancellationToken cancellationToken = default)
    {
        HboneConnection.CheckAuthority(authority);
        var connection = await ConnectAsync(destination, (gateway, target, token) => ConnectAsync(gateway, target, headers: null, token), cancellationToken);
        try
        {
            var stream = connection.TryRequest(authority, headers, limit: 1)
                ?? throw new HboneException(HboneError.Unprocessed, "the server takes no tunnels", connection.Http2.Failure);
            connection.Http2.Flush();
            return await connection.ResponseAsync(stream, authority, () => DrainAsync(connection), cancellationToken);
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>TCP, or a tunnel through a gateway; TLS; HTTP/2; in that order, each with its own error.</summary>
    /// <param name="destination">The server, and who we are to it.</param>
    /// <param name="throughGateway">Opens a tunnel to a gateway.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    internal async Task<HboneConnection> ConnectAsync(
        HboneDestination destination, Func<HboneDestination, string, CancellationToken, Task<HboneTunnel>> throughGateway, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(destination);
        var certificate = await CertificateAsync(destination.Source, cancellationToken);
        var transport = destination is { Gateway: { } gateway, GatewayAuthority: { } authority }
            ? await ConnectThroughAsync(gateway, authority, throughGateway, cancellationToken)
            : await ConnectTransportAsync(destination, cancellationToken);
        try
        {
            using var deadline = new CancellationTokenSource(_options.HandshakeTimeout, _time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
            try
            {
                var trustVersion = _certificates.TrustBundle.Version;
                var (tls, peer) = await AuthenticateAsync(destination, certificate, transport, either.Token);
                var http2 = await BeginHttp2Async(destination, tls, either.Token);
                _peers.Add(http2, peer.Identity!, peer.Chain);
                return new HboneConnection(transport, http2, peer.Identity!, peer.NotAfter!.Value, certificate, trustVersion);
            }
            catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
            {
                throw new HboneException(HboneError.HandshakeFailed, $"the handshake with {destination.EndPoint} was not complete within {_options.HandshakeTimeout}", e);
            }
        }
        catch
        {
            await transport.DisposeAsync();
            throw;
        }
    }

    private async Task<WorkloadCertificate> CertificateAsync(SpiffeId identity, CancellationToken cancellationToken)
    {
        try
        {
            return await _certificates.GetAsync(identity, cancellationToken: cancellationToken);
        }
        catch (CertificateAuthorityException e)
        {
            throw new HboneException(HboneError.IdentityUnavailable, e.Message, e);
        }
    }

    // A gateway that answers pings but no requests must not hold up all who want to go through it.
    private async Task<TransportConnection> ConnectThroughAsync(
        HboneDestination gateway, string authority, Func<HboneDestination, string, CancellationToken, Task<HboneTunnel>> throughGateway, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(_options.ConnectTimeout + _options.HandshakeTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return new TunnelTransport(await throughGateway(gateway, authority, either.Token));
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new HboneException(HboneError.ConnectTimeout, $"the gateway {gateway.EndPoint} opened no tunnel to {authority} in time", e);
        }
    }

    private async Task<TransportConnection> ConnectTransportAsync(HboneDestination destination, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(_options.ConnectTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            return await _transport.ConnectAsync(destination.EndPoint, destination.SourceAddress, either.Token);
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new HboneException(
                HboneError.ConnectTimeout,
                $"{destination.EndPoint} did not answer within {_options.ConnectTimeout}; a NetworkPolicy that does not allow port {destination.EndPoint.Port} does this",
                e);
        }
        catch (IOException e)
        {
            throw new HboneException(HboneError.ConnectFailed, e.Message, e);
        }
    }

    private async Task<(TlsStream Tls, PeerVerification Peer)> AuthenticateAsync(
        HboneDestination destination, WorkloadCertificate certificate, TransportConnection transport, CancellationToken cancellationToken)
    {
        var peer = new PeerVerification();
        TlsStream tls;
        try
        {
            var options = SpiffeTls.ClientOptions(certificate, _certificates.TrustBundle, destination.Peers, peer, _time, _aliases);
            tls = await TlsStream.AuthenticateAsClientAsync(transport.Stream, options, peer, cancellationToken);
        }
        catch (Exception e) when (e is AuthenticationException or IOException)
        {
            throw peer.Reason is { } reason
                ? new HboneException(peer.Rejection is PeerRejection.Revoked ? HboneError.PeerRevoked : HboneError.PeerRejected, $"{destination.EndPoint}: {reason}", e)
                : new HboneException(HboneError.TlsFailed, $"TLS with {destination.EndPoint} failed: {(e.InnerException ?? e).Message}", e);
        }

        var fault = tls.NegotiatedApplicationProtocol != SslApplicationProtocol.Http2
            ? new HboneException(HboneError.TlsFailed, $"{destination.EndPoint} does not speak h2 (ALPN)")
            : peer is not { Identity: not null, NotAfter: not null }
            ? new HboneException(HboneError.PeerRejected, $"{destination.EndPoint} proved no identity")
            : null;
        if (fault is not null)
        {
            await tls.DisposeAsync();
            throw fault;
        }

        return (tls, peer);
    }

    private async Task<Http2Connection> BeginHttp2Async(HboneDestination destination, TlsStream tls, CancellationToken cancellationToken)
    {
        var http2 = new Http2Connection(tls, isServer: false, _options, _time, _logger);
        http2.Start();
        try
        {
            await http2.Ready.WaitAsync(cancellationToken);
            return http2;
        }
        catch (HboneException e)
        {
            await http2.DisposeAsync();

            // In TLS 1.3 a client is done before the server has looked at its certificate; a rejection looks like this (ztunnel §2.8).
            throw new HboneException(
                HboneError.HandshakeFailed, $"{destination.EndPoint} closed the connection before its HTTP/2 settings; it may have rejected the certificate of {destination.Source}", e);
        }
        catch
        {
            await http2.DisposeAsync();
            throw;
        }
    }

    private static async ValueTask DrainAsync(HboneConnection connection)
    {
        await connection.Http2.DrainAsync();
        await connection.DisposeAsync();
    }
}
