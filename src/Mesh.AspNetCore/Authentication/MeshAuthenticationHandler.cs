using System.Security.Claims;
using System.Text.Encodings.Web;
using Mesh.AspNetCore.Server;
using Mesh.Core.Identity;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Mesh.AspNetCore.Authentication;

/// <summary>Makes a user of the identity that the peer of a tunnel has proved. Requests that came another way have none.</summary>
internal sealed class MeshAuthenticationHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory loggers, UrlEncoder encoder)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, loggers, encoder)
{
    protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(
        Context.Features.Get<IHboneTunnelFeature>() is { PeerIdentity: var identity }
            ? AuthenticateResult.Success(new AuthenticationTicket(Principal(identity), Scheme.Name))
            : AuthenticateResult.NoResult());

    private ClaimsPrincipal Principal(SpiffeId identity)
    {
        var claims = new List<Claim>
        {
            new(MeshAuthenticationDefaults.SpiffeIdClaim, identity.ToString()),
            new(MeshAuthenticationDefaults.TrustDomainClaim, identity.TrustDomain.Name),
        };
        if (identity.ServiceAccount is not null)
        {
            claims.Add(new Claim(MeshAuthenticationDefaults.ServiceAccountClaim, $"{identity.Namespace}/{identity.ServiceAccount}"));
        }

        return new ClaimsPrincipal(new ClaimsIdentity(claims, Scheme.Name, MeshAuthenticationDefaults.SpiffeIdClaim, roleType: null));
    }
}
