using System.Collections.Immutable;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>A workload's X.509-SVID: leaf with its private key, intermediates, validity. The key is in memory only.</summary>
public sealed class WorkloadCertificate : IDisposable
{
    private readonly Lazy<SslStreamCertificateContext> _context;

    /// <summary>Takes ownership of the certificates.</summary>
    /// <param name="leaf">The certificate of the workload, with its private key.</param>
    /// <param name="chain">The intermediates, issuer of the leaf first; without the root.</param>
    /// <exception cref="ArgumentException">The leaf has no private key or not exactly one SPIFFE ID.</exception>
    public WorkloadCertificate(X509Certificate2 leaf, params IEnumerable<X509Certificate2> chain)
    {
        ArgumentNullException.ThrowIfNull(leaf);
        if (!leaf.HasPrivateKey)
        {
            throw new ArgumentException("the certificate has no private key", nameof(leaf));
        }

        if (!UriSan.TryGetSpiffeId(leaf, out var identity, out var error))
        {
            throw new ArgumentException(error, nameof(leaf));
        }

        Identity = identity;
        Leaf = leaf;
        Chain = [.. chain];
        NotBefore = new DateTimeOffset(leaf.NotBefore.ToUniversalTime());
        NotAfter = new DateTimeOffset(leaf.NotAfter.ToUniversalTime());
        _context = new(() => SslStreamCertificateContext.Create(Leaf, [.. Chain], offline: true));
    }

    /// <summary>The identity that the certificate proves.</summary>
    public SpiffeId Identity { get; }

    /// <summary>The certificate itself, with its private key.</summary>
    public X509Certificate2 Leaf { get; }

    /// <summary>The intermediates that are presented with the leaf.</summary>
    public ImmutableArray<X509Certificate2> Chain { get; }

    /// <summary>The first moment of validity.</summary>
    public DateTimeOffset NotBefore { get; }

    /// <summary>The last moment of validity.</summary>
    public DateTimeOffset NotAfter { get; }

    /// <summary>When a replacement is due: at half of the lifetime (ztunnel §3.6).</summary>
    public DateTimeOffset RefreshAt => NotAfter > NotBefore ? NotBefore + ((NotAfter - NotBefore) / 2) : NotAfter;

    /// <summary>What is presented in TLS; made once, used for every handshake.</summary>
    public SslStreamCertificateContext TlsContext => _context.Value;

    /// <summary>Whether the certificate is within its validity at the given moment.</summary>
    public bool IsValidAt(DateTimeOffset moment) => NotBefore <= moment && moment <= NotAfter;

    /// <summary>Releases the key. Handshakes that have begun are not disturbed; later ones fail.</summary>
    public void Dispose()
    {
        Leaf.Dispose();
        foreach (var certificate in Chain)
        {
            certificate.Dispose();
        }
    }

    /// <summary>Identity and expiry; never key material.</summary>
    public override string ToString() => $"{Identity} until {NotAfter:u}";
}
