namespace Mesh.Core;

public sealed class SmokeTests
{
    [Fact]
    public void A_spiffe_id_is_read() => Assert.Equal("web", Identity.SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web").ServiceAccount);
}
