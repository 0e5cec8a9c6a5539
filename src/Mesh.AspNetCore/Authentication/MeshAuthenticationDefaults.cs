namespace Mesh.AspNetCore.Authentication;

/// <summary>The authentication scheme of the mesh, and its claims.</summary>
public static class MeshAuthenticationDefaults
{
    /// <summary>The scheme: who has proved an identity in TLS is that identity.</summary>
    public const string AuthenticationScheme = "Mesh";

    /// <summary>The claim with the whole SPIFFE ID.</summary>
    public const string SpiffeIdClaim = "spiffe_id";

    /// <summary>The claim with the trust domain.</summary>
    public const string TrustDomainClaim = "trust_domain";

    /// <summary>The claim with the service account, as <c>NAMESPACE/NAME</c>; absent for SPIFFE IDs of another form.</summary>
    public const string ServiceAccountClaim = "service_account";
}
