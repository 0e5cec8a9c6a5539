using System.Collections.Concurrent;
using System.Net.Security;
using System.Runtime.CompilerServices;
using System.Runtime.Versioning;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Win32.SafeHandles;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>OpenSSL's SSL_CTX: what all handshakes of one side with one certificate share. Made once for each certificate, and gone with it.</summary>
[SupportedOSPlatform("linux")]
internal sealed unsafe class OpenSslContext : SafeHandleZeroOrMinusOneIsInvalid
{
    private static readonly ConditionalWeakTable<SslStreamCertificateContext, ConcurrentDictionary<Key, OpenSslContext>> Contexts = [];

    public OpenSslContext()
        : base(ownsHandle: true) => SetHandle(SSL_CTX_new(TLS_method()));

    /// <summary>The one for a handshake.</summary>
    /// <exception cref="AuthenticationException">The certificate cannot be used.</exception>
    public static OpenSslContext For(TlsParameters parameters)
    {
        if (parameters.Certificate.TargetCertificate.Handle == 0)
        {
            throw new AuthenticationException("the certificate to present has been released");
        }

        var contexts = Contexts.GetValue(parameters.Certificate, static _ => []);
        return contexts.GetOrAdd(new Key(parameters.IsServer, parameters.CipherSuites, parameters.ApplicationProtocol), static (_, parameters) => Create(parameters), parameters);
    }

    protected override bool ReleaseHandle()
    {
        SSL_CTX_free(handle);
        return true;
    }

    private static OpenSslContext Create(TlsParameters parameters)
    {
        ERR_clear_error();
        var context = new OpenSslContext();
        try
        {
            context.Use(parameters);
            return context;
        }
        catch (Exception e)
        {
            context.Dispose();

            // The certificate may be released at any moment.
            throw e as AuthenticationException ?? new AuthenticationException($"the certificate to present cannot be used: {e.Message}", e);
        }
    }

    private void Use(TlsParameters parameters)
    {
        Require(!IsInvalid);
        Require(SSL_CTX_ctrl(this, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_3_VERSION, 0) == 1);
        Require(SSL_CTX_ctrl(this, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_3_VERSION, 0) == 1);
        Require(SSL_CTX_set_ciphersuites(this, parameters.CipherSuites) == 1);

        // Who has not proved anything holds no buffers while we wait for it.
        _ = SSL_CTX_ctrl(this, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, 0);

        // A resumed session would prove nothing anew.
        _ = SSL_CTX_set_options(this, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
        _ = SSL_CTX_ctrl(this, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, 0);
        Require(SSL_CTX_set_num_tickets(this, 0) == 1);

        SSL_CTX_set_verify(this, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, 0);
        SSL_CTX_set_cert_verify_callback(this, &OpenSslTlsStream.OnPeerCertificate, 0);
        if (parameters.IsServer)
        {
            SSL_CTX_set_alpn_select_cb(this, &OpenSslTlsStream.OnApplicationProtocols, 0);
        }
        else
        {
            ReadOnlySpan<byte> offered = [(byte)parameters.ApplicationProtocol.Protocol.Length, .. parameters.ApplicationProtocol.Protocol.Span];
            Require(SSL_CTX_set_alpn_protos(this, offered, (uint)offered.Length) == 0);
        }

        UseCertificate(parameters.Certificate);
    }

    private void UseCertificate(SslStreamCertificateContext certificate)
    {
        var leaf = Read(certificate.TargetCertificate);
        try
        {
            Require(leaf != 0 && SSL_CTX_use_certificate(this, leaf) == 1);
        }
        finally
        {
            X509_free(leaf);
        }

        using (var key = KeyOf(certificate.TargetCertificate))
        {
            // Fails, too, when it is not the certificate's.
            Require(SSL_CTX_use_PrivateKey(this, key) == 1);
        }

        foreach (var intermediate in certificate.IntermediateCertificates)
        {
            var issuer = Read(intermediate);
            if (issuer == 0 || SSL_CTX_ctrl(this, SSL_CTRL_CHAIN_CERT, 0, issuer) != 1)
            {
                // It would be the context's otherwise.
                X509_free(issuer);
                Require(false);
            }
        }
    }

    private static nint Read(X509Certificate2 certificate)
    {
        var octets = certificate.RawDataMemory.Span;
        fixed (byte* start = octets)
        {
            var next = start;
            return d2i_X509(null, &next, octets.Length);
        }
    }

    // The runtime's own, which is in memory only and is not copied.
    private static SafeEvpPKeyHandle KeyOf(X509Certificate2 certificate)
    {
        using var elliptic = certificate.GetECDsaPrivateKey();
        using var rsa = elliptic is null ? certificate.GetRSAPrivateKey() : null;
        return (elliptic as ECDsaOpenSsl)?.DuplicateKeyHandle()
            ?? (rsa as RSAOpenSsl)?.DuplicateKeyHandle()
            ?? throw new AuthenticationException($"the key of the certificate to present is of the kind {certificate.GetKeyAlgorithm()}; RSA and ECDSA can be used");
    }

    private static void Require(bool isDone)
    {
        if (!isDone)
        {
            throw new AuthenticationException($"the certificate to present cannot be used: {TakeErrors()}");
        }
    }

    private readonly record struct Key(bool IsServer, string CipherSuites, SslApplicationProtocol ApplicationProtocol);
}
