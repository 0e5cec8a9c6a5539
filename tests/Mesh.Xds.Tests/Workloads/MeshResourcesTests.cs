using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Xds.Client;
using static Mesh.Testing.TestMesh;

namespace Mesh.Xds.Workloads;

/// <summary>From messages of a control plane to a mesh.</summary>
public sealed class MeshResourcesTests
{
    private const string CartUid = "c1//Pod/shop/cart";
    private const string CartName = $"shop/{CartHost}";

    private readonly MeshState _state = new();
    private readonly MeshResources _resources;
    private readonly HashSet<string> _held = [];

    public MeshResourcesTests() => _resources = new MeshResources(_state);

    [Fact]
    public void Within_a_message_what_is_gone_goes_before_what_is_there_comes()
    {
        Apply([Of(Cart), Of(CartService)]);
        Apply([Of(Cart with { Node = "node-2" }), Of(CartService)], CartUid, CartName);
        Assert.Equal("node-2", _state.Current.FindWorkload(CartUid)!.Node);
        Assert.Equal([CartUid], _state.Current.EndpointsOf(CartKey).Keys);

        // Under another name, too.
        Apply([("other", new MeshAddress(Cart with { Node = "node-3" }, null))], CartUid);
        Assert.Equal("node-3", _state.Current.FindWorkload(CartUid)!.Node);
        Apply([], "other");
        Assert.Null(_state.Current.FindWorkload(CartUid));
    }

    [Fact]
    public void A_message_is_one_change()
    {
        Apply([Of(Cart), Of(CartService)]);
        var changes = 0;
        _state.Changed += (_, change) =>
        {
            changes++;
            Assert.Equal(["c1//Pod/shop/cart-2"], change.After.EndpointsOf(CartKey).Keys);
        };
        Apply([Of(Workload("cart-2", "10.0.0.3", CartKey)), Of(CartService)], CartUid, CartName);
        Assert.Equal(1, changes);
    }

    [Theory]
    [InlineData(0, 1, false)]
    [InlineData(1, 0, false)]
    [InlineData(0, 1, true)]
    [InlineData(1, 0, true)]
    public void A_service_has_its_endpoints_whichever_came_first(int first, int second, bool isOneMessage)
    {
        (string, MeshAddress)[] both = [Of(Cart), Of(CartService)];
        if (isOneMessage)
        {
            Apply([both[first], both[second]]);
        }
        else
        {
            Apply([both[first]]);
            Apply([both[second]]);
        }

        Assert.Equal([CartUid], _state.Current.EndpointsOf(CartKey).Keys);

        // And again when the service comes back.
        Apply([], CartName);
        Apply([Of(CartService)]);
        Assert.Equal([CartUid], _state.Current.EndpointsOf(CartKey).Keys);
        Apply([], CartUid);
        Assert.Empty(_state.Current.EndpointsOf(CartKey));
    }

    [Fact]
    public void A_name_may_become_that_of_a_service_and_of_a_workload_again()
    {
        var workload = new MeshAddress(Web with { Uid = CartName }, null);
        Apply([(CartName, workload)]);
        Apply([Of(CartService)]);
        Assert.Equal((0, 1), (_state.Current.WorkloadCount, _state.Current.ServiceCount));
        Apply([(CartName, workload)]);
        Assert.Equal((1, 0), (_state.Current.WorkloadCount, _state.Current.ServiceCount));
        Apply([Of(CartService)]);
        Apply([], CartName);
        Assert.Equal((0, 0), (_state.Current.WorkloadCount, _state.Current.ServiceCount));
    }

    [Fact]
    public void A_name_that_is_not_of_what_it_stands_for_may_stand_for_anything_else()
    {
        Apply([("x", new MeshAddress(Cart, null))]);
        Apply([("x", new MeshAddress(null, CartService))]);
        Assert.Equal((0, 1), (_state.Current.WorkloadCount, _state.Current.ServiceCount));
        Apply([("x", new MeshAddress(Web, null))]);
        Assert.Equal([Web.Uid], _state.Current.Workloads.Select(workload => workload.Uid));
        Assert.Equal(0, _state.Current.ServiceCount);
        Apply([], "x");
        Assert.Equal(0, _state.Current.WorkloadCount);
    }

    [Fact]
    public void A_name_that_was_of_what_it_stood_for_leaves_nothing_behind()
    {
        Apply([Of(Cart)]);
        Apply([(CartUid, new MeshAddress(Web, null))]);
        Assert.Equal([Web.Uid], _state.Current.Workloads.Select(workload => workload.Uid));
        Apply([Of(Cart)]);
        Assert.Equal([CartUid], _state.Current.Workloads.Select(workload => workload.Uid));

        Apply([Of(CartService)]);
        Apply([(CartName, new MeshAddress(null, Service("web", "10.96.0.3")))]);
        Assert.Equal(1, _state.Current.ServiceCount);
        Assert.Null(_state.Current.FindService(CartKey));
    }

    [Fact]
    public void A_policy_whose_name_stands_for_another_one_now_is_gone()
    {
        ApplyPolicies([("shop/a", Allow("a"))]);
        ApplyPolicies([("shop/a", Allow("b"))]);
        Assert.Equal(["shop/b"], Policies());
        ApplyPolicies([("shop/a", Allow("c"))]);
        Assert.Equal(["shop/c"], Policies());
        ApplyPolicies([("shop/a", Allow("a"))]);
        Assert.Equal(["shop/a"], Policies());
        ApplyPolicies([("shop/a", Allow("b"))], "shop/a");
        Assert.Equal(["shop/b"], Policies());
        ApplyPolicies([], "shop/a");
        Assert.Empty(Policies());
    }

    [Fact]
    public void What_could_not_be_applied_is_found_by_its_name_when_it_comes_again()
    {
        Apply([("x", new MeshAddress(Cart, null)), Of(CartService)]);

        // The edit fails before the state has changed, or somebody fails who hears of it afterwards.
        Assert.ThrowsAny<Exception>(() => Apply([("bad", null!)], "x"));
        Assert.NotNull(_state.Current.FindWorkload(CartUid));
        Apply([], "x");
        Assert.Null(_state.Current.FindWorkload(CartUid));

        _state.Changed += Fail;
        Assert.ThrowsAny<Exception>(() => Apply([("x", new MeshAddress(Cart, null))]));
        _state.Changed -= Fail;
        Assert.NotNull(_state.Current.FindWorkload(CartUid));
        Apply([], "x");
        Assert.Null(_state.Current.FindWorkload(CartUid));

        static void Fail(object? sender, MeshChange change) => throw new InvalidOperationException("a subscriber that fails");
    }

    [Fact]
    public void Many_policies_that_cannot_be_read_take_no_longer_for_what_goes_with_them()
    {
        var names = Enumerable.Range(0, 50_000).Select(i => $"shop/p-{i}").ToArray();
        ApplyPolicies([.. names.Select(name => (name, AuthorizationReader.Unreadable(name, "it has no content")))], [.. names.Select(name => $"{name}-gone")]);
        Assert.Equal(50_000, Policies().Length);
    }

    private static (string, MeshAddress) Of(Workload workload) => (workload.Uid, new MeshAddress(workload, null));

    private static (string, MeshAddress) Of(Service service) => (service.Key.ToString(), new MeshAddress(null, service));

    private static MeshAuthorization Allow(string name) =>
        new(new L4Authorization { Name = name, Namespace = "shop", Scope = AuthorizationScope.Namespace, Action = AuthorizationAction.Allow, Rules = [new AuthorizationRule()] }, null, IsReadable: true);

    private string[] Policies() => [.. _state.Current.Policies.Policies.Select(policy => policy.Key).Order(StringComparer.Ordinal)];

    private void Apply((string, MeshAddress)[] changed, params string[] removed) => _resources.Apply(Update(changed, removed));

    private void ApplyPolicies((string, MeshAuthorization)[] changed, params string[] removed) => _resources.Apply(Update(changed, removed));

    private XdsUpdate<T> Update<T>((string Name, T Value)[] changed, string[] removed)
    {
        var update = new XdsUpdate<T>([.. changed.Select(one => new XdsResource<T>(one.Name, "v1", one.Value, [], IsNew: _held.Add(one.Name)))], [.. removed]);
        _held.ExceptWith(removed.Except(changed.Select(one => one.Name)));
        return update;
    }
}
