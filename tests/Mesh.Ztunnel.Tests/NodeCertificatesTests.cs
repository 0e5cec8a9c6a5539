using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Testing;

namespace Mesh.Ztunnel;

/// <summary>Certificates are there before the first connection, and for as long as somebody on the node needs them.</summary>
public sealed class NodeCertificatesTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly MeshState _state = new();
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly WorkloadCertificates _certificates;
    private NodeCertificates _node = null!;

    public NodeCertificatesTests() => _certificates = new WorkloadCertificates(_authority);

    private SpiffeId[] Known => [.. _certificates.Status.Select(status => status.Identity).OrderBy(identity => identity.ToString())];

    public Task InitializeAsync()
    {
        _state.Update(mesh => mesh.Upsert(Pod("w0", "web")));
        _node = new NodeCertificates("n1", _state, _certificates);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        _node.Dispose();
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Fact]
    public async Task They_are_fetched_when_a_workload_is_there_or_comes()
    {
        _state.Update(mesh => mesh.Upsert(Pod("c0", "cart")));
        await Eventually.Until("both are there", () => _certificates.TryGet(Web, out _) && _certificates.TryGet(Cart, out _));
    }

    [Fact]
    public void They_are_not_fetched_for_workloads_of_other_nodes_and_for_those_outside_the_mesh()
    {
        _state.Update(mesh =>
        {
            mesh.Upsert(Pod("c0", "cart") with { Node = "n2" });
            mesh.Upsert(Pod("p0", "pay") with { Protocol = TunnelProtocol.None });
        });
        Assert.Equal([Web], Known);
    }

    [Fact]
    public void They_are_forgotten_when_the_last_workload_of_an_identity_has_gone()
    {
        _state.Update(mesh => mesh.Upsert(Pod("w1", "web")));
        _state.Update(mesh => mesh.RemoveWorkload("w0"));
        Assert.Equal([Web], Known);
        _state.Update(mesh => mesh.RemoveWorkload("w1"));
        Assert.Empty(Known);
    }

    [Fact]
    public void A_workload_that_moves_to_another_node_or_identity_takes_its_certificate_along()
    {
        _state.Update(mesh => mesh.Upsert(Pod("w0", "cart")));
        Assert.Equal([Cart], Known);
        _state.Update(mesh => mesh.Upsert(Pod("w0", "cart") with { Node = "n2" }));
        Assert.Empty(Known);
    }

    [Fact]
    public void Nothing_is_followed_any_more_in_the_end()
    {
        _node.Dispose();
        _state.Update(mesh => mesh.Upsert(Pod("c0", "cart")));
        Assert.Equal([Web], Known);
    }

    private static Workload Pod(string uid, string serviceAccount) =>
        new() { Uid = uid, Name = uid, Namespace = "shop", ServiceAccount = serviceAccount, Node = "n1", Protocol = TunnelProtocol.Hbone };
}
