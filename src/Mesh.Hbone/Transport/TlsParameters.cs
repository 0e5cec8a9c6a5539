using System.Net.Security;
using System.Runtime.Versioning;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Mesh.Core.Identity;

namespace Mesh.Hbone.Transport;

/// <summary>What a handshake of either side is held to: the options of <see cref="SpiffeTls"/>, as far as they differ.</summary>
/// <param name="IsServer">Which side.</param>
/// <param name="Certificate">What is presented.</param>
/// <param name="CipherSuites">The names of the allowed ones, the preferred one first.</param>
/// <param name="ApplicationProtocol">The one that is offered, or accepted (ALPN).</param>
/// <param name="ChainPolicy">How the peer's chain is built and held against the roots.</param>
/// <param name="Verify">Whether the peer is accepted.</param>
/// <param name="Peer">Filled by the handshake.</param>
[SupportedOSPlatform("linux")]
internal sealed record TlsParameters(
    bool IsServer,
    SslStreamCertificateContext Certificate,
    string CipherSuites,
    SslApplicationProtocol ApplicationProtocol,
    X509ChainPolicy ChainPolicy,
    RemoteCertificateValidationCallback Verify,
    PeerVerification Peer)
{
    /// <exception cref="ArgumentException">They are not those of TLS between workloads.</exception>
    public static TlsParameters Of(SslClientAuthenticationOptions options, PeerVerification peer) =>
        options is
        {
            TargetHost: "",
            EnabledSslProtocols: SslProtocols.Tls13,
            AllowTlsResume: false,
            ClientCertificateContext: { } certificate,
            CipherSuitesPolicy: { } suites,
            ApplicationProtocols: [var protocol],
            CertificateChainPolicy: { } chain,
            RemoteCertificateValidationCallback: { } verify,
        }
            ? new TlsParameters(false, certificate, NamesOf(suites), protocol, chain, verify, peer)
            : throw Unknown(nameof(options));

    /// <inheritdoc cref="Of(SslClientAuthenticationOptions, PeerVerification)"/>
    public static TlsParameters Of(SslServerAuthenticationOptions options, PeerVerification peer) =>
        options is
        {
            ClientCertificateRequired: true,
            EnabledSslProtocols: SslProtocols.Tls13,
            AllowTlsResume: false,
            ServerCertificateContext: { } certificate,
            CipherSuitesPolicy: { } suites,
            ApplicationProtocols: [var protocol],
            CertificateChainPolicy: { } chain,
            RemoteCertificateValidationCallback: { } verify,
        }
            ? new TlsParameters(true, certificate, NamesOf(suites), protocol, chain, verify, peer)
            : throw Unknown(nameof(options));

    // OpenSSL knows the suites of TLS 1.3 by the same names.
    private static string NamesOf(CipherSuitesPolicy suites) => string.Join(':', suites.AllowedCipherSuites);

    private static ArgumentException Unknown(string name) => new("these are not the options of TLS between workloads (SpiffeTls)", name);
}
