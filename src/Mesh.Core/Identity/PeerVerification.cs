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
    private VerifiedChains? _verified;
    private Func<VerifiedChain, bool>? _acceptAgain;
    private bool _isServer;
    private IReadOnlyList<ReadOnlyMemory<byte>> _presented = [];

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

    /// <summary>
    /// Accepts a peer whose chain was verified before, without verifying it again; what may have changed since then is looked at: roots, time, revocation, who is
    /// expected. For who shakes hands without <see cref="System.Net.Security.SslStream"/>, by the options of <see cref="SpiffeTls"/>.
    /// </summary>
    /// <param name="certificates">What the peer presents, DER, the leaf first.</param>
    /// <returns>False when the chain is to be built and the options' callback to be asked, whatever the reason.</returns>
    public bool TryAcceptAgain(IReadOnlyList<ReadOnlyMemory<byte>> certificates)
    {
        ArgumentNullException.ThrowIfNull(certificates);
        if (_verified is null || _acceptAgain is null || certificates.Count == 0)
        {
            return false;
        }

        _presented = certificates;
        return _verified.Find(VerifiedChains.KeyOf(_isServer, certificates)) is { } chain && chain.Leaf.Span.SequenceEqual(certificates[0].Span) && _acceptAgain(chain);
    }

    /// <summary>What the options of a handshake are made for.</summary>
    /// <param name="isServer">Whether the peer is the server.</param>
    /// <param name="verified">The chains that were verified.</param>
    /// <param name="acceptAgain">Whether one of them is accepted now.</param>
    internal void Begin(bool isServer, VerifiedChains verified, Func<VerifiedChain, bool> acceptAgain)
    {
        Reject(PeerRejection.None, reason: null);
        _presented = [];
        _isServer = isServer;
        _verified = verified;
        _acceptAgain = acceptAgain;
    }

    /// <summary>Accepts a peer that was verified from the beginning.</summary>
    /// <param name="chain">What it proved.</param>
    /// <param name="built">The chain's certificates, the leaf first.</param>
    internal bool Accept(VerifiedChain chain, ReadOnlySpan<X509Certificate2> built)
    {
        // Whoever has no key yet must not fill the memory with one leaf and all that can be added to it: what is presented has to be the chain.
        var isTheChain = _presented.Count > 0 && _presented.Count <= built.Length;
        for (var i = 0; isTheChain && i < _presented.Count; i++)
        {
            isTheChain = built[i].RawDataMemory.Span.SequenceEqual(_presented[i].Span);
        }

        if (isTheChain)
        {
            _verified?.Add(VerifiedChains.KeyOf(_isServer, _presented), chain);
        }

        return Accept(chain);
    }

    /// <summary>Accepts a peer.</summary>
    internal bool Accept(VerifiedChain chain)
    {
        Identity = chain.Identity;
        Chain = chain.Links;
        NotAfter = chain.LeafNotAfter;
        Rejection = PeerRejection.None;
        Reason = null;
        return true;
    }

    internal bool Reject(PeerRejection rejection, string? reason)
    {
        Identity = null;
        Chain = [];
        NotAfter = null;
        Rejection = rejection;
        Reason = reason;
        return false;
    }
}
