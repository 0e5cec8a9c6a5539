using System.Collections.Immutable;
using Mesh.Core.Identity;
using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

public sealed class L4AllocationTests
{
    private const int Calls = 1000;

    [Theory]
    [InlineData(Principals, "cluster.local/ns/shop/sa/web")]
    [InlineData(Principals, "cluster.local/ns/shop/*")]
    [InlineData(ServiceAccounts, "shop/web")]
    [InlineData(Namespaces, "shop")]
    [InlineData(DestinationPorts, "8080")]
    [InlineData(SourceIps, "10.0.0.0/8")]
    [InlineData(NotDestinationIps, "192.0.2.0/24")]
    public void An_allow_by_a_policy_allocates_nothing(MatchAttribute attribute, string entry) => Assert.Equal(
        0, AllocatedBy(L4PolicySet.Create(Allow("shop/a", When(Is(attribute, entry))), Deny("shop/d", When(Is(Namespaces, "mail"))))));

    [Fact]
    public void An_allow_by_a_listed_policy_allocates_nothing() => Assert.Equal(
        0, AllocatedBy(L4PolicySet.Create(Allow("shop/a", When(Is(ServiceAccounts, "shop/web"))).ForSelector()), "shop/gone", "shop/a"));

    [Fact]
    public void An_allow_for_want_of_policies_allocates_nothing() => Assert.Equal(0, AllocatedBy(L4PolicySet.Empty));

    [Theory]
    [InlineData(Principals, "cluster.local/ns/shop/sa/web")]
    [InlineData(NotPrincipals, "*/teller")]
    public void An_allow_under_the_proven_name_allocates_nothing_for_the_other_names(MatchAttribute attribute, string entry) => Assert.Equal(
        0, AllocatedBy(L4PolicySet.Create(Allow("shop/a", When(Is(attribute, entry)))), From(Web).AlsoKnownAs(SpiffeId.Parse("spiffe://old.example/ns/shop/sa/web"))));

    private static long AllocatedBy(L4PolicySet policies, params string[] listed) => AllocatedBy(policies, From(Web), listed);

    private static long AllocatedBy(L4PolicySet policies, L4Connection connection, params string[] listed)
    {
        var keys = ImmutableArray.Create(listed);
        var allowed = Run(policies, keys, connection);
        var before = GC.GetAllocatedBytesForCurrentThread();
        allowed += Run(policies, keys, connection);
        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(2 * Calls, allowed);
        return allocated;
    }

    private static int Run(L4PolicySet policies, ImmutableArray<string> listed, L4Connection connection)
    {
        var allowed = 0;
        for (var i = 0; i < Calls; i++)
        {
            allowed += L4Authorizer.Authorize(policies, "shop", listed, connection) is L4Decision.Allowed ? 1 : 0;
        }

        return allowed;
    }
}
