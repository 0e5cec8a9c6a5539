namespace Mesh.Core.Identity;

/// <summary>Signs the certificates of workloads: a mesh's CA, a SPIRE agent, or <see cref="DevelopmentCertificateAuthority"/>.</summary>
public interface ICertificateAuthority
{
    /// <summary>The roots that this authority vouches for; kept up to date while the authority is in use.</summary>
    TrustBundle TrustBundle { get; }

    /// <summary>Makes a new key and has it signed for <paramref name="identity"/>. The caller owns the result.</summary>
    /// <remarks>Callers share and repeat: <see cref="WorkloadCertificates"/> is the one that asks, caches and renews.</remarks>
    /// <exception cref="CertificateAuthorityException">The authority refused or could not be reached.</exception>
    Task<WorkloadCertificate> IssueAsync(SpiffeId identity, CancellationToken cancellationToken);
}

/// <summary>A certificate could not be had.</summary>
public sealed class CertificateAuthorityException(string message, Exception? innerException = null) : Exception(message, innerException);
