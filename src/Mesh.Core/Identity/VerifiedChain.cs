using System.Collections.Immutable;

namespace Mesh.Core.Identity;

/// <summary>A chain that was verified, for one side of a connection.</summary>
/// <param name="Identity">What its leaf proves.</param>
/// <param name="Leaf">The leaf, DER.</param>
/// <param name="Root">The root that it ends in, DER.</param>
/// <param name="Links">Its certificates, as far as revocation is concerned.</param>
/// <param name="NotBefore">The first moment at which all its certificates are valid.</param>
/// <param name="NotAfter">The last such moment.</param>
/// <param name="LeafNotAfter">The last moment of validity of the leaf.</param>
internal sealed record VerifiedChain(
    SpiffeId Identity,
    ReadOnlyMemory<byte> Leaf,
    ReadOnlyMemory<byte> Root,
    ImmutableArray<CertificateLink> Links,
    DateTimeOffset NotBefore,
    DateTimeOffset NotAfter,
    DateTimeOffset LeafNotAfter);
