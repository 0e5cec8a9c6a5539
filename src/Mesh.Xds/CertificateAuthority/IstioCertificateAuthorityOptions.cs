namespace Mesh.Xds.CertificateAuthority;

/// <summary>Settings of <see cref="IstioCertificateAuthority"/>.</summary>
public sealed class IstioCertificateAuthorityOptions
{
    /// <summary>The certificate authority.</summary>
    public required ControlPlaneEndpoint Endpoint { get; init; }

    /// <summary>The lifetime that is asked for. At least one second; default 24 hours (ztunnel §4).</summary>
    public TimeSpan Lifetime { get; init; } = TimeSpan.FromHours(24);

    /// <summary>
    /// Whether the client acts for workloads that are not itself, as a node's proxy does: their identity is then named in the request, and the answer must have it.
    /// Otherwise the authority decides by the token who the client is, which must be who it asked to be. Default true.
    /// </summary>
    public bool Impersonate { get; init; } = true;

    /// <summary>How long one request may take. Default 10 seconds; <see cref="Core.Identity.WorkloadCertificates"/> asks again.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);
}
