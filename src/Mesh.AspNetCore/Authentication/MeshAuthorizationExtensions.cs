using Mesh.AspNetCore.Authentication;

namespace Microsoft.AspNetCore.Authorization;

/// <summary>Authorization policies that name service accounts.</summary>
public static class MeshAuthorizationExtensions
{
    /// <summary>Requires that the request came through a tunnel from one of these service accounts of the application's trust domain.</summary>
    /// <remarks>The trust domain is the application's own: the endpoint takes no peers of another one.</remarks>
    /// <param name="policy">The policy.</param>
    /// <param name="serviceAccounts">Each as <c>NAMESPACE/NAME</c>; at least one.</param>
    /// <exception cref="ArgumentException">There is none, or one is not of that form.</exception>
    public static AuthorizationPolicyBuilder RequireServiceAccount(this AuthorizationPolicyBuilder policy, params string[] serviceAccounts)
    {
        ArgumentNullException.ThrowIfNull(policy);
        ArgumentNullException.ThrowIfNull(serviceAccounts);
        if (serviceAccounts.Length == 0)
        {
            throw new ArgumentException("no service account is named; a policy that lets nobody in is not meant", nameof(serviceAccounts));
        }

        foreach (var account in serviceAccounts)
        {
            if (account.Split('/') is not [{ Length: > 0 }, { Length: > 0 }])
            {
                throw new ArgumentException($"'{account}' is not a service account; allowed is NAMESPACE/NAME", nameof(serviceAccounts));
            }
        }

        // Of the identity that TLS has proved: a token of another scheme can hold any claim.
        return policy.AddAuthenticationSchemes(MeshAuthenticationDefaults.AuthenticationScheme).RequireAssertion(context => context.User.Identities.Any(identity =>
            identity.AuthenticationType == MeshAuthenticationDefaults.AuthenticationScheme
            && identity.HasClaim(claim => claim.Type == MeshAuthenticationDefaults.ServiceAccountClaim && serviceAccounts.Contains(claim.Value, StringComparer.Ordinal))));
    }
}
