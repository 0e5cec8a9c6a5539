using Mesh.Core.Policy;

namespace Mesh.Core.Workloads;

/// <summary>What follows from a record's fields follows from those of its copy, too.</summary>
public sealed class RecordTests
{
    [Fact]
    public void A_copy_with_another_service_account_has_another_identity()
    {
        var web = new Workload { Uid = "a", Namespace = "shop", ServiceAccount = "web" };
        Assert.Equal("spiffe://cluster.local/ns/shop/sa/web", web.Identity.ToString());
        Assert.Equal("spiffe://cluster.local/ns/shop/sa/cart", (web with { ServiceAccount = "cart" }).Identity.ToString());
    }

    [Fact]
    public void A_copy_with_another_name_has_another_key()
    {
        var policy = new L4Authorization { Name = "a", Namespace = "shop", Scope = AuthorizationScope.Global, Action = AuthorizationAction.Deny };
        Assert.Equal("shop/a", policy.Key);
        Assert.Equal("shop/b", (policy with { Name = "b" }).Key);
    }

    [Fact]
    public void A_subscriber_that_fails_does_not_keep_a_change_from_the_others()
    {
        var state = new MeshState();
        var heard = 0;
        state.Changed += (_, _) => throw new InvalidOperationException("boom");
        state.Changed += (_, _) => heard++;

        var fault = Assert.Throws<AggregateException>(() => state.Update(editor => editor.Upsert(new Workload { Uid = "a", Namespace = "shop" })));

        Assert.Equal("boom", Assert.Single(fault.InnerExceptions).Message);
        Assert.Equal((1, 1), (heard, state.Current.WorkloadCount));
    }
}
