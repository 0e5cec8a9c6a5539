using System.Collections.Immutable;
using Mesh.Core.Policy;
using Xunit.Abstractions;
using static Mesh.Core.Workloads.Meshes;

namespace Mesh.Core.Workloads;

public sealed class MeshStateTests(ITestOutputHelper output)
{
    private static readonly L4Authorization Policy = Policies.Deny("shop/p", new AuthorizationRule());
    private readonly MeshState _mesh = new();

    [Fact]
    public void A_reader_of_an_old_snapshot_sees_no_change()
    {
        _mesh.Update(mesh => mesh.Upsert(Pod("web", "10.0.0.1")));
        var old = _mesh.Current;
        _mesh.Update(mesh => mesh.RemoveWorkload(Pod("web").Uid));

        Assert.NotNull(old.FindWorkload(At("10.0.0.1")));
        Assert.Null(_mesh.Current.FindWorkload(At("10.0.0.1")));
    }

    [Fact]
    public void Changes_of_one_update_become_visible_together()
    {
        var published = new List<MeshChange>();
        _mesh.Changed += (_, change) => published.Add(change);
        _mesh.Update(mesh =>
        {
            mesh.Upsert(Pod("web", "10.0.0.1"));
            mesh.Upsert(Cart((80, 8080)));
        });

        var change = Assert.Single(published);
        Assert.Equal((0, 1, 1), (change.Before.WorkloadCount, change.After.WorkloadCount, change.After.ServiceCount));
    }

    [Fact]
    public void An_exception_in_an_edit_publishes_nothing()
    {
        var before = _mesh.Current;
        Assert.Throws<InvalidOperationException>(() => _mesh.Update(mesh =>
        {
            mesh.Upsert(Pod("web", "10.0.0.1"));
            throw new InvalidOperationException("changed my mind");
        }));

        Assert.Same(before, _mesh.Current);
    }

    [Fact]
    public void An_exception_in_an_edit_leaves_the_next_edit_alone()
    {
        Assert.Throws<InvalidOperationException>(() => _mesh.Update(mesh =>
        {
            mesh.Upsert(Pod("web", "10.0.0.1"));
            throw new InvalidOperationException("changed my mind");
        }));
        _mesh.Update(mesh => mesh.Upsert(Pod("cart", "10.0.0.2")));

        Assert.Equal(["cart"], _mesh.Current.Workloads.Select(workload => workload.Name));
    }

    [Fact]
    public void A_change_of_workloads_is_not_one_of_policies() => Assert.False(ChangeBy(mesh => mesh.Upsert(Pod("web"))).PoliciesChanged);

    [Fact]
    public void A_new_policy_is_a_change_of_policies() => Assert.True(ChangeBy(mesh => mesh.Upsert(Policy)).PoliciesChanged);

    [Fact]
    public void A_removed_policy_is_a_change_of_policies()
    {
        _mesh.Update(mesh => mesh.Upsert(Policy));
        Assert.True(ChangeBy(mesh => mesh.RemovePolicy("shop/p")).PoliciesChanged);
    }

    [Fact]
    public void To_remove_a_policy_that_is_not_there_changes_nothing() => Assert.False(ChangeBy(mesh => Assert.False(mesh.RemovePolicy("shop/p"))).PoliciesChanged);

    [Fact]
    public void A_policy_that_came_and_went_in_one_edit_changes_nothing() => Assert.False(ChangeBy(mesh =>
    {
        mesh.Upsert(Policy);
        Assert.True(mesh.RemovePolicy("shop/p"));
    }).PoliciesChanged);

    [Fact]
    public void A_policy_that_went_and_came_back_in_one_edit_is_there()
    {
        _mesh.Update(mesh => mesh.Upsert(Policy));
        _mesh.Update(mesh =>
        {
            mesh.RemovePolicy("shop/p");
            mesh.Upsert(Policy);
        });

        Assert.True(_mesh.Current.Policies.TryGet("shop/p", out _));
    }

    [Fact]
    public void A_whole_mesh_takes_the_place_of_the_old_one()
    {
        _mesh.Update(mesh => mesh.Upsert(Pod("web")));
        _mesh.Replace([Pod("cart")], [Cart()], [Policy]);

        Assert.Equal(("cart", 1, 1), (Assert.Single(_mesh.Current.Workloads).Name, _mesh.Current.ServiceCount, _mesh.Current.Policies.Count));
    }

    [Fact]
    public void To_remove_what_is_not_there_says_so() => _mesh.Update(mesh =>
    {
        Assert.False(mesh.RemoveWorkload("nobody"));
        Assert.False(mesh.RemoveService(CartKey));
    });

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_mesh_that_grew_by_changes_is_one_made_at_once(int seed)
    {
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        var workloads = new List<Workload>();
        var services = new List<Service>();
        for (var step = 0; step < 400; step++)
        {
            _mesh.Update(mesh =>
            {
                for (var edits = random.Next(1, 4); edits > 0; edits--)
                {
                    Edit(mesh, random, workloads, services);
                }
            });
            var made = new MeshState();
            made.Replace(workloads, services, []);
            AssertSame(made.Current, _mesh.Current);
        }
    }

    private static void Edit(MeshEditor mesh, Random random, List<Workload> workloads, List<Service> services)
    {
        switch (random.Next(4))
        {
            case 0:
                var uid = RandomWorkload(random).Uid;
                Assert.Equal(workloads.RemoveAll(one => one.Uid == uid) > 0, mesh.RemoveWorkload(uid));
                break;
            case 1:
                var key = RandomService(random).Key;
                Assert.Equal(services.RemoveAll(one => one.Key == key) > 0, mesh.RemoveService(key));
                break;
            case 2:
                var service = RandomService(random);
                services.RemoveAll(one => one.Key == service.Key);
                services.Add(service);
                mesh.Upsert(service);
                break;
            default:
                var workload = RandomWorkload(random);
                workloads.RemoveAll(one => one.Uid == workload.Uid);
                workloads.Add(workload);
                mesh.Upsert(workload);
                break;
        }
    }

    private static Workload RandomWorkload(Random random)
    {
        var number = random.Next(8);
        var workload = Pod($"w{random.Next(3)}", [.. Enumerable.Range(0, random.Next(3)).Select(_ => $"10.0.0.{random.Next(4)}")]) with
        {
            Uid = number % 2 == 0 ? $"k//Pod/shop/{number}" : $"k/WorkloadEntry/{number}",
            Hostname = random.Next(2) == 0 ? "" : $"h{random.Next(2)}",
            Protocol = (TunnelProtocol)random.Next(2),
            NetworkMode = (NetworkMode)random.Next(2),
        };
        return Enumerable.Range(0, random.Next(3)).Aggregate(workload, (one, _) => one.Behind(RandomService(random).Key, (80, random.Next(3))));
    }

    private static Service RandomService(Random random) =>
        ServiceOf(random.Next(2) == 0 ? "shop" : "bank", [.. Enumerable.Range(0, random.Next(3)).Select(_ => $"10.9.0.{random.Next(3)}")]) with
        {
            Hostname = $"s{random.Next(3)}",
            Canonical = random.Next(2) == 0,
            Visibility = (ServiceVisibility)random.Next(2),
            CidrVips = random.Next(2) == 0 ? [] : [new NetworkRange("", System.Net.IPNetwork.Parse("10.9.0.0/24"))],
        };

    private static void AssertSame(MeshSnapshot expected, MeshSnapshot actual)
    {
        Assert.Equal(expected.WorkloadsByUid.OrderBy(pair => pair.Key), actual.WorkloadsByUid.OrderBy(pair => pair.Key));
        AssertSameIndex(expected.UidsByAddress, actual.UidsByAddress);
        AssertSameIndex(expected.UidsByName, actual.UidsByName);
        AssertSameIndex(expected.UidsByHostname, actual.UidsByHostname);
        AssertSameIndex(expected.ServicesByVip, actual.ServicesByVip);
        AssertSameIndex(expected.ServicesByHostname, actual.ServicesByHostname);
        AssertSameIndex(EndpointsOf(expected), EndpointsOf(actual));
        Assert.Equal(expected.ServicesByKey.OrderBy(pair => pair.Key.ToString()), actual.ServicesByKey.OrderBy(pair => pair.Key.ToString()));
        var inRange = System.Net.IPAddress.Parse("10.9.0.77");
        Assert.Equal(
            expected.ServicesByRange.SelectMany(pair => pair.Value.Covering(inRange)).OrderBy(one => one.Value.Key.ToString()),
            actual.ServicesByRange.SelectMany(pair => pair.Value.Covering(inRange)).OrderBy(one => one.Value.Key.ToString()));
    }

    private static void AssertSameIndex<TKey, TValue>(IEnumerable<KeyValuePair<TKey, ImmutableArray<TValue>>> expected, IEnumerable<KeyValuePair<TKey, ImmutableArray<TValue>>> actual)
        where TKey : notnull => Assert.Equal(Flat(expected), Flat(actual));

    private static List<(TKey Key, TValue Value)> Flat<TKey, TValue>(IEnumerable<KeyValuePair<TKey, ImmutableArray<TValue>>> index)
        where TKey : notnull => [.. from pair in index orderby pair.Key.ToString() from value in pair.Value select (pair.Key, value)];

    private static IEnumerable<KeyValuePair<NamespacedHostname, ImmutableArray<Workload>>> EndpointsOf(MeshSnapshot mesh) => mesh.Endpoints.Select(pair =>
        KeyValuePair.Create(pair.Key, pair.Value.ByUid.OrderBy(one => one.Key).Select(one => one.Value).ToImmutableArray()));

    private MeshChange ChangeBy(Action<MeshEditor> edit)
    {
        MeshChange? seen = null;
        _mesh.Changed += (_, change) => seen = change;
        _mesh.Update(edit);
        return Assert.IsType<MeshChange>(seen);
    }
}
