using System.Collections.Immutable;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>The rule that a peer's certificate broke. Numbers never change.</summary>
public enum PeerRejection
{
    /// <summary>No rule is broken.</summary>
    None = 0,

    /// <summary>The peer presented no certificate.</summary>
    NoCertificate = 1,

    /// <summary>A certificate of the chain is past its validity.</summary>
    Expired = 2,

    /// <summary>A certificate of the chain is not valid yet.</summary>
    NotYetValid = 3,

    /// <summary>The chain does not end in a root of the peer's trust domain.</summary>
    UntrustedChain = 4,

    /// <summary>The certificate signed itself.</summary>
    SelfSigned = 5,

    /// <summary>The certificate may not be used for this: wrong extended key usage, or a CA certificate.</summary>
    WrongUsage = 6,

    /// <summary>There is no URI name in the certificate.</summary>
    NoSpiffeId = 7,

    /// <summary>There is more than one URI name in the certificate (X.509-SVID standard, section 2).</summary>
    SeveralUriNames = 8,

    /// <summary>The URI name is not a SPIFFE ID.</summary>
    InvalidSpiffeId = 9,

    /// <summary>The client's trust domain is not that of the server (ztunnel §3.3).</summary>
    WrongTrustDomain = 10,

    /// <summary>The server is not one of the identities that the client accepts (ztunnel §3.4).</summary>
    UnexpectedIdentity = 11,

    /// <summary>A certificate of the chain is revoked (ztunnel §3.5).</summary>
    Revoked = 12,
}

/// <summary>What one handshake learnt of its peer: the proven identity, or the rule that failed.</summary>
/// <remarks>Made before the handshake, filled by it, read after it, whether it succeeded or not.</remarks>
public sealed class PeerVerification
{
    /// <summary>The proven identity; null until the peer passed every rule.</summary>
    public SpiffeId? Identity { get; private set; }

    /// <summary>The end of validity of the peer's certificate; null until the peer passed every rule.</summary>
    public DateTimeOffset? NotAfter { get; private set; }

    /// <summary>The peer's certificates, as far as revocation is concerned; empty until the peer passed every rule.</summary>
    public ImmutableArray<CertificateLink> Chain { get; private set; } = [];

    /// <summary>The rule that failed; <see cref="PeerRejection.None"/> when none did, or when the handshake did not come that far.</summary>
    public PeerRejection Rejection { get; private set; }

    /// <summary>The rejection in words, with the values concerned; null when there is none.</summary>
    public string? Reason { get; private set; }

    internal bool Accept(SpiffeId identity, X509Certificate2 leaf, ImmutableArray<CertificateLink> chain)
    {
        Identity = identity;
        Chain = chain;
        NotAfter = new DateTimeOffset(leaf.NotAfter.ToUniversalTime());
        Rejection = PeerRejection.None;
        Reason = null;
        return true;
    }

    internal bool Reject(PeerRejection rejection, string reason)
    {
        Identity = null;
        Rejection = rejection;
        Reason = reason;
        return false;
    }
}
