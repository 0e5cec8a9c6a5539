using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Testing;

namespace Mesh.Hbone;

public sealed class AuthorityTests
{
    [Theory]
    [InlineData("10.0.0.1:80\r\nx: y")]
    [InlineData("a\0:80")]
    [InlineData("\u2026:80")]
    public async Task An_authority_that_could_not_be_a_header_is_refused_before_anything_is_sent(string authority)
    {
        using var ca = DevelopmentCertificateAuthority.Create();
        await using var certificates = new WorkloadCertificates(ca);
        var web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
        var destination = new HboneDestination(web, [web], new IPEndPoint(IPAddress.Loopback, 1));

        await Assert.ThrowsAsync<ArgumentException>(() => new HboneClient(certificates).ConnectAsync(destination, authority).InTime());
    }
}
