using Mesh.Core.Identity;
using static Mesh.Core.Policy.MatchAttribute;
using static Mesh.Core.Policy.Policies;

namespace Mesh.Core.Policy;

/// <summary>ztunnel §9.3, attribute by attribute: what a match says of a connection without identity, with the one named, with another one.</summary>
public sealed class L4AttributeTests
{
    public enum Peer
    {
        Plaintext,
        Web,
        Teller,
    }

    public static TheoryData<MatchAttribute, string, Peer, bool> Sources => new()
    {
        { Namespaces, "shop", Peer.Plaintext, false },
        { Namespaces, "shop", Peer.Web, true },
        { Namespaces, "shop", Peer.Teller, false },
        { NotNamespaces, "shop", Peer.Plaintext, true },
        { NotNamespaces, "shop", Peer.Web, false },
        { NotNamespaces, "shop", Peer.Teller, true },
        { Principals, "cluster.local/ns/shop/sa/web", Peer.Plaintext, false },
        { Principals, "cluster.local/ns/shop/sa/web", Peer.Web, true },
        { Principals, "cluster.local/ns/shop/sa/web", Peer.Teller, false },
        { Principals, "spiffe://cluster.local/ns/shop/sa/web", Peer.Web, false },
        { Principals, "other.local/ns/shop/sa/web", Peer.Web, false },
        { NotPrincipals, "cluster.local/ns/shop/sa/web", Peer.Plaintext, true },
        { NotPrincipals, "cluster.local/ns/shop/sa/web", Peer.Web, false },
        { NotPrincipals, "cluster.local/ns/shop/sa/web", Peer.Teller, true },
        { ServiceAccounts, "shop/web", Peer.Plaintext, false },
        { ServiceAccounts, "shop/web", Peer.Web, true },
        { ServiceAccounts, "shop/web", Peer.Teller, false },
        { ServiceAccounts, "shop/teller", Peer.Teller, false },
        { ServiceAccounts, "bank/web", Peer.Web, false },
        { NotServiceAccounts, "shop/web", Peer.Plaintext, true },
        { NotServiceAccounts, "shop/web", Peer.Web, false },
        { NotServiceAccounts, "shop/web", Peer.Teller, true },
    };

    public static TheoryData<MatchAttribute, string, string, bool> Addresses
    {
        get
        {
            var data = new TheoryData<MatchAttribute, string, string, bool>();
            foreach (var (positive, negative) in new[] { (SourceIps, NotSourceIps), (DestinationIps, NotDestinationIps) })
            {
                foreach (var (range, address, contains) in Ranges)
                {
                    data.Add(positive, range, address, contains);
                    data.Add(negative, range, address, !contains);
                }
            }

            return data;
        }
    }

    private static (string Range, string Address, bool Contains)[] Ranges =>
    [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.1.2.3/32", "10.1.2.3", true),
        ("10.1.2.3/32", "10.1.2.4", false),
        ("0.0.0.0/0", "192.0.2.1", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("2001:db8::/32", "2001:db8:1::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "10.1.2.3", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("10.0.0.0/8", "::ffff:11.1.2.3", false),
    ];

    [Theory]
    [MemberData(nameof(Sources))]
    public void An_allow_policy_matches_by_the_source_identity(MatchAttribute attribute, string entry, Peer peer, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(Is(attribute, entry), From(IdentityOf(peer))));

    [Theory]
    [MemberData(nameof(Sources))]
    public void A_deny_policy_matches_by_the_source_identity(MatchAttribute attribute, string entry, Peer peer, bool matches) =>
        Assert.Equal(matches, IsDeniedBy(Is(attribute, entry), From(IdentityOf(peer))));

    [Theory]
    [MemberData(nameof(Addresses))]
    public void An_address_is_matched_by_ranges_of_its_own_family(MatchAttribute attribute, string range, string address, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(Is(attribute, range), FromAndTo(address)));

    [Theory]
    [InlineData(DestinationPorts, "8080", 8080, true)]
    [InlineData(DestinationPorts, "8080", 8081, false)]
    [InlineData(NotDestinationPorts, "8080", 8080, false)]
    [InlineData(NotDestinationPorts, "8080", 8081, true)]
    public void A_port_is_matched_exactly(MatchAttribute attribute, string entry, int port, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(Is(attribute, entry), From(null, port: port)));

    [Theory]
    [InlineData(Namespaces, "shop,bank", true)]
    [InlineData(Namespaces, "bank,mail", false)]
    [InlineData(NotNamespaces, "bank,mail", true)]
    [InlineData(NotNamespaces, "bank,shop", false)]
    [InlineData(DestinationPorts, "80,8080", true)]
    [InlineData(NotDestinationPorts, "80,8080", false)]
    [InlineData(SourceIps, "192.0.2.0/24,10.0.0.0/8", true)]
    [InlineData(NotSourceIps, "192.0.2.0/24,10.0.0.0/8", false)]
    [InlineData(ServiceAccounts, "bank/teller,shop/web", true)]
    [InlineData(NotServiceAccounts, "bank/teller,shop/web", false)]
    public void Any_entry_of_a_positive_list_suffices_and_any_of_a_negative_one_excludes(MatchAttribute attribute, string entries, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(Is(attribute, entries.Split(',')), From(Web)));

    [Theory]
    [InlineData("*", Peer.Web, true)]
    [InlineData("*", Peer.Plaintext, false)]
    [InlineData("sh*", Peer.Web, true)]
    [InlineData("sh*", Peer.Teller, false)]
    [InlineData("*op", Peer.Web, true)]
    [InlineData("*op", Peer.Teller, false)]
    [InlineData("", Peer.Plaintext, true)]
    [InlineData("", Peer.Web, false)]
    public void The_namespace_of_a_source_without_identity_is_the_empty_text(string entry, Peer peer, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(new AuthorizationMatch { Namespaces = [Text(entry)] }, From(IdentityOf(peer))));

    [Theory]
    [InlineData(Namespaces, false)]
    [InlineData(NotNamespaces, true)]
    [InlineData(ServiceAccounts, false)]
    [InlineData(NotServiceAccounts, true)]
    public void An_identity_that_is_not_of_a_service_account_has_neither_namespace_nor_account(MatchAttribute attribute, bool matches)
    {
        var entry = attribute is Namespaces or NotNamespaces ? "shop" : "shop/web";
        Assert.Equal(matches, IsAllowedBy(Is(attribute, entry), From(SpiffeId.Parse("spiffe://cluster.local/gateway"))));
    }

    [Fact]
    public void A_service_account_matches_in_any_trust_domain() =>
        Assert.True(IsAllowedBy(Is(ServiceAccounts, "shop/web"), From(SpiffeId.Parse("spiffe://elsewhere/ns/shop/sa/web"))));

    [Theory]
    [InlineData(true, 8080, true)]
    [InlineData(true, 8081, false)]
    [InlineData(false, 8080, false)]
    public void Every_attribute_of_a_match_must_hold(bool asWeb, int port, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(All(Is(Namespaces, "shop"), Is(DestinationPorts, "8080")), From(asWeb ? Web : Teller, port: port)));

    [Theory]
    [InlineData("shop", "bank", true)]
    [InlineData("shop", "*", false)]
    [InlineData("bank", "mail", false)]
    public void The_positive_and_the_negative_list_of_an_attribute_must_both_hold(string positive, string negative, bool matches) =>
        Assert.Equal(matches, IsAllowedBy(All(Is(Namespaces, positive), Is(NotNamespaces, negative)), From(Web)));

    private static bool IsAllowedBy(AuthorizationMatch match, L4Connection connection) =>
        L4PolicySet.Create(Allow("shop/p", When(match))).Decide(connection) is L4Decision.Allowed;

    private static bool IsDeniedBy(AuthorizationMatch match, L4Connection connection) =>
        L4PolicySet.Create(Deny("shop/p", When(match))).Decide(connection) is L4Decision.Denied;

    private static L4Connection FromAndTo(string address) => From(null, address, address);

    private static SpiffeId? IdentityOf(Peer peer) => peer switch
    {
        Peer.Web => Web,
        Peer.Teller => Teller,
        _ => null,
    };
}
