using System.Collections.Immutable;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>TLS between workloads (ztunnel §3): version 1.3, both sides prove a SPIFFE ID, ALPN <c>h2</c>, no SNI, no resumption.</summary>
public static class SpiffeTls
{
    private static readonly Oid ServerAuthentication = new("1.3.6.1.5.5.7.3.1");
    private static readonly Oid ClientAuthentication = new("1.3.6.1.5.5.7.3.2");

    // ztunnel §3.1: no ChaCha20.
    private static readonly TlsCipherSuite[] CipherSuites = [TlsCipherSuite.TLS_AES_256_GCM_SHA384, TlsCipherSuite.TLS_AES_128_GCM_SHA256];

    /// <summary>Options for the accepting side: the client must have a certificate of the same trust domain as <paramref name="certificate"/>, or of an alias of it.</summary>
    /// <param name="certificate">What the server presents.</param>
    /// <param name="trust">The roots that the client's chain must end in.</param>
    /// <param name="peer">Filled by the handshake: who the client is, or why it was rejected.</param>
    /// <param name="time">The clock that validity is judged by.</param>
    /// <param name="aliases">Other names of the trust domain of <paramref name="certificate"/>; null for none. An alias without roots is held against those of that trust domain.</param>
    public static SslServerAuthenticationOptions ServerOptions(
        WorkloadCertificate certificate, TrustBundle trust, PeerVerification peer, TimeProvider time, TrustDomainAliases? aliases = null)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        ArgumentNullException.ThrowIfNull(trust);
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(time);
        aliases ??= TrustDomainAliases.None;
        var own = certificate.Identity.TrustDomain;
        var rules = new Rules(trust, id => aliases.RootsOf(trust, own, id.TrustDomain), peer, time, id =>
            aliases.AreSame(own, own, id.TrustDomain)
                ? null
                : (PeerRejection.WrongTrustDomain, $"peer identity {id} is not of the trust domain {own}{AliasText(aliases)}"));
        peer.Begin(isServer: false, trust.VerifiedChains, rules.AcceptAgain);
        return Server(certificate.TlsContext, aliases.RootsOfAllNames(trust, own, own), time, (_, leaf, chain, _) => rules.Verify(leaf as X509Certificate2, chain));
    }

    /// <summary>Options for the connecting side: the server must be one of <paramref name="expected"/>, under any alias.</summary>
    /// <param name="certificate">What the client presents.</param>
    /// <param name="trust">The roots that the server's chain must end in.</param>
    /// <param name="expected">The accepted identities; an empty list accepts nobody.</param>
    /// <param name="peer">Filled by the handshake: who the server is, or why it was rejected.</param>
    /// <param name="time">The clock that validity is judged by.</param>
    /// <param name="aliases">Other names of the trust domain of <paramref name="certificate"/>; null for none. An alias without roots is held against those of that trust domain.</param>
    public static SslClientAuthenticationOptions ClientOptions(
        WorkloadCertificate certificate, TrustBundle trust, IReadOnlyList<SpiffeId> expected, PeerVerification peer, TimeProvider time, TrustDomainAliases? aliases = null)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        ArgumentNullException.ThrowIfNull(trust);
        ArgumentNullException.ThrowIfNull(expected);
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(time);
        aliases ??= TrustDomainAliases.None;
        var own = certificate.Identity.TrustDomain;
        var rules = new Rules(trust, id => aliases.RootsOf(trust, own, id.TrustDomain), peer, time, id =>
            expected.Any(one => aliases.AreSame(own, one, id))
                ? null
                : (PeerRejection.UnexpectedIdentity, $"peer identity {id} is not one of the expected: {ExpectedText(expected)}{AliasText(aliases)}"));
        peer.Begin(isServer: true, trust.VerifiedChains, rules.AcceptAgain);
        var roots = expected.Select(id => id.TrustDomain).Distinct().SelectMany(trustDomain => aliases.RootsOfAllNames(trust, own, trustDomain));
        return new SslClientAuthenticationOptions
        {
            TargetHost = "",
            ClientCertificateContext = certificate.TlsContext,
            EnabledSslProtocols = SslProtocols.Tls13,
            ApplicationProtocols = [SslApplicationProtocol.Http2],
            AllowTlsResume = false,
            AllowRenegotiation = false,
            EncryptionPolicy = EncryptionPolicy.RequireEncryption,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            CertificateChainPolicy = ChainPolicy(roots, ServerAuthentication, time),
            CipherSuitesPolicy = Suites(),
            RemoteCertificateValidationCallback = (_, leaf, chain, _) => rules.Verify(leaf as X509Certificate2, chain),
        };
    }

    /// <summary>
    /// Options for a server that is known by a DNS name and not by a SPIFFE ID, such as a control plane: a client need not have a certificate,
    /// but one that it shows must be good. Who it is, <see cref="SpiffeId.TryRead"/> tells.
    /// </summary>
    /// <param name="server">What the server presents.</param>
    /// <param name="trust">The roots that a client's chain must end in, by its trust domain.</param>
    /// <param name="time">The clock that validity is judged by.</param>
    public static SslServerAuthenticationOptions ControlPlaneOptions(SslStreamCertificateContext server, TrustBundle trust, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(server);
        ArgumentNullException.ThrowIfNull(trust);
        ArgumentNullException.ThrowIfNull(time);
        var rules = new Rules(trust, id => trust.RootsOf(id.TrustDomain), new PeerVerification(), time, _ => null);
        return Server(
            server,
            trust.TrustDomains.SelectMany(trustDomain => trust.RootsOf(trustDomain)).Distinct(),
            time,
            (_, leaf, chain, _) => leaf is null || rules.Verify(leaf as X509Certificate2, chain));
    }

    // A certificate is asked for in any case; whether there must be one, the callback says.
    private static SslServerAuthenticationOptions Server(
        SslStreamCertificateContext server, IEnumerable<X509Certificate2> roots, TimeProvider time, RemoteCertificateValidationCallback verify) => new()
        {
            ServerCertificateContext = server,
            ClientCertificateRequired = true,
            EnabledSslProtocols = SslProtocols.Tls13,
            ApplicationProtocols = [SslApplicationProtocol.Http2],
            AllowTlsResume = false,
            AllowRenegotiation = false,
            EncryptionPolicy = EncryptionPolicy.RequireEncryption,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            CertificateChainPolicy = ChainPolicy(roots, ClientAuthentication, time),
            CipherSuitesPolicy = Suites(),
            RemoteCertificateValidationCallback = verify,
        };

    private static (PeerRejection Rule, string Reason)? CheckChain(X509Certificate2 leaf, X509Chain chain, ImmutableArray<X509Certificate2> roots, SpiffeId identity)
    {
        if (leaf.Extensions.OfType<X509BasicConstraintsExtension>().Any(constraints => constraints.CertificateAuthority))
        {
            return (PeerRejection.WrongUsage, "it is a CA certificate; a workload's must not be");
        }

        // Every fault of the chain counts, none is waved through; the order decides only which one is named.
        var status = chain.ChainStatus.Aggregate(X509ChainStatusFlags.NoError, (all, one) => all | one.Status);
        if (chain.ChainElements.Count == 0)
        {
            return (PeerRejection.UntrustedChain, "no chain could be built");
        }

        if (status.HasFlag(X509ChainStatusFlags.NotTimeValid))
        {
            return TimeFault(chain);
        }

        if (status.HasFlag(X509ChainStatusFlags.NotValidForUsage))
        {
            return (PeerRejection.WrongUsage, "its extended key usage does not allow this side of a TLS connection");
        }

        var last = chain.ChainElements[^1].Certificate;
        var known = roots.Any(root => root.RawDataMemory.Span.SequenceEqual(last.RawDataMemory.Span));
        if (status is not X509ChainStatusFlags.NoError || !known)
        {
            return chain.ChainElements.Count == 1 && leaf.SubjectName.RawData.AsSpan().SequenceEqual(leaf.IssuerName.RawData)
                ? (PeerRejection.SelfSigned, $"it is self-signed and not a root of the trust domain {identity.TrustDomain}")
                : (PeerRejection.UntrustedChain, $"its chain does not end in a root of the trust domain {identity.TrustDomain} ({status})");
        }

        return null;
    }

    private static (PeerRejection Rule, string Reason) TimeFault(X509Chain chain)
    {
        var now = chain.ChainPolicy.VerificationTime.ToUniversalTime();
        foreach (var element in chain.ChainElements)
        {
            if (element.Certificate.NotAfter.ToUniversalTime() < now)
            {
                return (PeerRejection.Expired, $"expired at {element.Certificate.NotAfter.ToUniversalTime():u}, it is {now:u}");
            }
        }

        return (PeerRejection.NotYetValid, $"not valid before {chain.ChainElements[0].Certificate.NotBefore.ToUniversalTime():u}, it is {now:u}");
    }

    private static X509ChainPolicy ChainPolicy(IEnumerable<X509Certificate2> roots, Oid usage, TimeProvider time)
    {
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
            VerificationTimeIgnored = false,
            VerificationTime = time.GetUtcNow().UtcDateTime.ToLocalTime(),
        };
        policy.ApplicationPolicy.Add(usage);
        foreach (var root in roots)
        {
            policy.CustomTrustStore.Add(root);
        }

        return policy;
    }

    private static CipherSuitesPolicy? Suites() =>
        OperatingSystem.IsLinux() || OperatingSystem.IsMacOS() ? new CipherSuitesPolicy(CipherSuites) : null;

    private static string AliasText(TrustDomainAliases aliases) => aliases.Names.IsEmpty ? "" : $" (aliases of ours: {aliases})";

    private static string ExpectedText(IReadOnlyList<SpiffeId> expected)
    {
        const int Shown = 5;
        return expected.Count switch
        {
            0 => "(none)",
            <= Shown => string.Join(", ", expected),
            _ => $"{string.Join(", ", expected.Take(Shown))} and {expected.Count - Shown} more",
        };
    }

    /// <summary>What one peer is held to.</summary>
    /// <param name="trust">Roots and revocation lists.</param>
    /// <param name="roots">The roots that the chain of an identity may end in.</param>
    /// <param name="peer">Filled by the verification.</param>
    /// <param name="time">The clock that validity is judged by.</param>
    /// <param name="accept">The rule that an identity breaks; null when it is welcome.</param>
    private sealed class Rules(
        TrustBundle trust,
        Func<SpiffeId, ImmutableArray<X509Certificate2>> roots,
        PeerVerification peer,
        TimeProvider time,
        Func<SpiffeId, (PeerRejection Rule, string Reason)?> accept)
    {
        // The order is that of the question a reader asks: who are you, may you be here, who says so. All must hold, so it costs no safety.
        public bool Verify(X509Certificate2? leaf, X509Chain? chain)
        {
            if (leaf is null || chain is null)
            {
                return peer.Reject(PeerRejection.NoCertificate, "the peer presented no certificate");
            }

            var rejection = UriSan.Identify(leaf, out var identity, out var error);
            if (identity is null)
            {
                return peer.Reject(rejection, error ?? "the certificate holds no SPIFFE ID");
            }

            if (accept(identity) is { } refusal)
            {
                return peer.Reject(refusal.Rule, refusal.Reason);
            }

            if (CheckChain(leaf, chain, roots(identity), identity) is { } fault)
            {
                return peer.Reject(fault.Rule, $"certificate of {identity}: {fault.Reason}");
            }

            X509Certificate2[] certificates = [.. chain.ChainElements.Select(element => element.Certificate)];
            var links = CertificateLink.Of(certificates);
            return trust.RevocationLists.Find(links) is { } revoked
                ? peer.Reject(PeerRejection.Revoked, $"certificate of {identity}: its chain holds the revoked serial number {revoked.SerialText}")
                : peer.Accept(
                    new VerifiedChain(
                        identity,
                        leaf.RawData,
                        certificates[^1].RawData,
                        links,
                        certificates.Max(certificate => new DateTimeOffset(certificate.NotBefore.ToUniversalTime())),
                        certificates.Min(certificate => new DateTimeOffset(certificate.NotAfter.ToUniversalTime())),
                        new DateTimeOffset(leaf.NotAfter.ToUniversalTime())),
                    certificates);
        }

        // Who is not accepted again is verified from the beginning, which finds out why.
        public bool AcceptAgain(VerifiedChain chain)
        {
            var now = time.GetUtcNow();
            return chain.NotBefore <= now && now <= chain.NotAfter
                && accept(chain.Identity) is null
                && roots(chain.Identity).Any(root => root.RawDataMemory.Span.SequenceEqual(chain.Root.Span))
                && trust.RevocationLists.Find(chain.Links) is null
                && peer.Accept(chain);
        }
    }
}
