using System.Collections.Concurrent;
using Mesh.Core.Identity;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>Says loudly when a certificate that we present is revoked, which ztunnel does not notice.</summary>
internal sealed class OwnCertificates : IDisposable
{
    private readonly ConcurrentDictionary<string, bool> _told = new();
    private readonly WorkloadCertificates _certificates;
    private readonly ILogger _logger;

    public OwnCertificates(WorkloadCertificates certificates, ILogger logger)
    {
        _certificates = certificates;
        _logger = logger;
        certificates.Changed += OnCertificateChanged;
        certificates.TrustBundle.Changed += OnTrustChanged;
        OnTrustChanged(null, EventArgs.Empty);
    }

    public void Dispose()
    {
        _certificates.Changed -= OnCertificateChanged;
        _certificates.TrustBundle.Changed -= OnTrustChanged;
    }

    private void OnCertificateChanged(object? sender, WorkloadCertificateStatus status) => Check(status);

    private void OnTrustChanged(object? sender, EventArgs e)
    {
        foreach (var status in _certificates.Status)
        {
            Check(status);
        }
    }

    private void Check(WorkloadCertificateStatus status)
    {
        if (status.Certificate is not { } certificate)
        {
            return;
        }

        // Which of several roots signed the chain, its signature says; a list counts only with its issuer's key.
        foreach (var root in _certificates.TrustBundle.RootsOf(status.Identity.TrustDomain))
        {
            var chain = CertificateLink.Of([certificate.Leaf, .. certificate.Chain, root]);
            if (_certificates.TrustBundle.RevocationLists.Find(chain) is { } revoked && _told.TryAdd(revoked.SerialText, true))
            {
                _logger.OwnCertificateRevoked(status.Identity, revoked.SerialText);
            }
        }
    }
}
