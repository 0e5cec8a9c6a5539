using System.Net.Security;
using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Mesh.Core.Identity;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>The handshake, and who the peer is.</summary>
internal sealed partial class OpenSslTlsStream
{
    /// <summary>Shakes hands.</summary>
    /// <inheritdoc cref="TlsStream.AuthenticateAsClientAsync"/>
    public static async Task<TlsStream> AuthenticateAsync(Stream transport, TlsParameters parameters, CancellationToken cancellationToken)
    {
        OpenSslTlsStream? stream = null;
        try
        {
            stream = new OpenSslTlsStream(transport, parameters);
            await stream.AuthenticateAsync(parameters.IsServer, cancellationToken);
            return stream;
        }
        catch
        {
            await (stream ?? transport).DisposeAsync();
            throw;
        }
    }

    // A server waits first, a client speaks first.
    private async Task AuthenticateAsync(bool waits, CancellationToken cancellationToken)
    {
        var turn = new HandshakeTurn();
        try
        {
            for (var isDone = false; !isDone; waits = true)
            {
                if (waits)
                {
                    // Whoever waits for the network does not keep others from computing.
                    turn.GiveBack();
                    await WaitForInputAsync(cancellationToken);
                }

                await turn.TakeAsync(cancellationToken);
                isDone = ShakeHands(out var isToFlush, out var refusal);
                if (isToFlush)
                {
                    turn.GiveBack();
                    try
                    {
                        await FlushOutputAsync(cancellationToken);
                    }
                    catch (IOException) when (refusal is not null)
                    {
                        // The refusal says more.
                    }
                }

                if (refusal is not null)
                {
                    throw refusal;
                }
            }
        }
        finally
        {
            turn.GiveBack();
        }
    }

    // As far as it can be done with what has come. A refusal may have to be told to the peer before it is thrown.
    private bool ShakeHands(out bool isToFlush, out Exception? refusal)
    {
        lock (_gate)
        {
            Enter_NeedsLock(mayRead: true);
            try
            {
                refusal = null;
                var result = SSL_do_handshake(_ssl);
                var error = result == 1 ? 0 : SSL_get_error(_ssl, result);
                if (result == 1)
                {
                    refusal = Establish_NeedsLock();
                }
                else if (error != SSL_ERROR_WANT_READ)
                {
                    refusal = Refusal_NeedsLock();
                }

                isToFlush = BeginFlush_NeedsLock();
                return result == 1;
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    private AuthenticationException? Establish_NeedsLock()
    {
        _applicationProtocol = ApplicationProtocol(_ssl);
        _handshake = null;

        // From now on many records are read at once, into a buffer that is kept until the connection is idle.
        _ = SSL_ctrl(_ssl, SSL_CTRL_CLEAR_MODE, SSL_MODE_RELEASE_BUFFERS, 0);
        _ = SSL_ctrl(_ssl, SSL_CTRL_SET_READ_AHEAD, 1, 0);
        SSL_set_default_read_buffer_len(_ssl, ReadSize);
        return _isPeerVerified ? null : new AuthenticationException("the peer's certificate was not verified");
    }

    private Exception Refusal_NeedsLock()
    {
        if (_failure is not null)
        {
            return _failure as IOException ?? (Exception)new AuthenticationException(_failure.Message, _failure);
        }

        if (_hasEnded)
        {
            return new IOException("the peer closed the connection during the TLS handshake");
        }

        if (ERR_peek_error() == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        {
            _ = _handshake!.Verify(this, certificate: null, chain: null, SslPolicyErrors.RemoteCertificateNotAvailable);
        }

        return new AuthenticationException($"the TLS handshake failed: {TakeErrors()}");
    }

    // What the peer presents, the leaf first.
    private bool Verify(ReadOnlySpan<nint> certificates)
    {
        var parameters = _handshake!;
        var presented = new ReadOnlyMemory<byte>[certificates.Length];
        for (var i = 0; i < presented.Length; i++)
        {
            presented[i] = Encode(certificates[i]);
        }

        return parameters.Peer.TryAcceptAgain(presented) || Verify(parameters, presented);
    }

    private bool Verify(TlsParameters parameters, ReadOnlyMemory<byte>[] presented)
    {
        using var chain = new X509Chain { ChainPolicy = parameters.ChainPolicy };
        var certificates = new List<X509Certificate2>(presented.Length);
        try
        {
            certificates.AddRange(presented.Select(octets => X509CertificateLoader.LoadCertificate(octets.Span)));
            chain.ChainPolicy.ExtraStore.AddRange(certificates.Skip(1).ToArray());
            var errors = chain.Build(certificates[0]) ? SslPolicyErrors.None : SslPolicyErrors.RemoteCertificateChainErrors;
            return parameters.Verify(this, certificates[0], chain, errors);
        }
        finally
        {
            foreach (var certificate in chain.ChainElements.Select(element => element.Certificate).Concat(certificates))
            {
                certificate.Dispose();
            }
        }
    }

    // What the peer is told (RFC 8446, section 6.2), in the words of OpenSSL.
    private static int AlertFor(PeerRejection rejection) => rejection switch
    {
        PeerRejection.Expired => X509_V_ERR_CERT_HAS_EXPIRED,
        PeerRejection.Revoked => X509_V_ERR_CERT_REVOKED,
        PeerRejection.UntrustedChain or PeerRejection.SelfSigned => X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        PeerRejection.WrongUsage => X509_V_ERR_INVALID_PURPOSE,
        _ => X509_V_ERR_CERT_REJECTED,
    };

    private static unsafe byte[] Encode(nint certificate)
    {
        var octets = new byte[Math.Max(0, i2d_X509(certificate, null))];
        fixed (byte* start = octets)
        {
            var next = start;
            _ = i2d_X509(certificate, &next);
        }

        return octets;
    }

    private static unsafe SslApplicationProtocol ApplicationProtocol(OpenSslSession ssl)
    {
        SSL_get0_alpn_selected(ssl, out var protocol, out var length);
        return length == 0 ? default : new SslApplicationProtocol(new ReadOnlySpan<byte>(protocol, (int)length).ToArray());
    }

    /// <summary>Whether the peer's certificate is accepted (SSL_CTX_set_cert_verify_callback(3)).</summary>
    [UnmanagedCallersOnly]
    public static unsafe int OnPeerCertificate(nint store, void* argument)
    {
        var stream = _inCall!;
        var isAccepted = false;
        try
        {
            var stack = X509_STORE_CTX_get0_untrusted(store);
            var count = OPENSSL_sk_num(stack);
            if (count is > 0 and <= MaxPeerCertificates)
            {
                Span<nint> certificates = stackalloc nint[count];
                for (var i = 0; i < count; i++)
                {
                    certificates[i] = OPENSSL_sk_value(stack, i);
                }

                isAccepted = stream.Verify(certificates);
            }
            else
            {
                throw new AuthenticationException($"the peer presented {count} certificates; from 1 to {MaxPeerCertificates} are looked at");
            }
        }
        catch (Exception e)
        {
            stream._failure ??= e;
        }

        // The runtime's own calls may have left some.
        ERR_clear_error();
        stream._isPeerVerified = isAccepted;
        if (isAccepted)
        {
            return 1;
        }

        X509_STORE_CTX_set_error(store, AlertFor(stream._handshake?.Peer.Rejection ?? PeerRejection.None));
        return 0;
    }

    /// <summary>Which of the client's protocols is taken (SSL_CTX_set_alpn_select_cb(3)): lengths of an octet, and names.</summary>
    [UnmanagedCallersOnly]
    public static unsafe int OnApplicationProtocols(nint ssl, byte** selected, byte* selectedLength, byte* offered, uint length, void* argument)
    {
        var wanted = _inCall!._handshake!.ApplicationProtocol.Protocol.Span;
        for (var rest = new ReadOnlySpan<byte>(offered, (int)length); rest.Length > 0 && rest.Length > rest[0]; rest = rest[(1 + rest[0])..])
        {
            if (rest.Slice(1, rest[0]).SequenceEqual(wanted))
            {
                *selected = offered + ((int)length - rest.Length + 1);
                *selectedLength = rest[0];
                return SSL_TLSEXT_ERR_OK;
            }
        }

        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
}
