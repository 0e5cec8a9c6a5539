using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>A client whose trust domain is an alias of the server's, over sockets.</summary>
public sealed class TrustDomainAliasTests : IAsyncLifetime
{
    private static readonly SpiffeId OldWeb = SpiffeId.Parse("spiffe://old.example/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private static readonly SpiffeId OldCart = SpiffeId.Parse("spiffe://old.example/ns/shop/sa/cart");
    private static readonly TrustDomainAliases Aliases = TrustDomainAliases.Create(OldWeb.TrustDomain, Cart.TrustDomain);
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly WorkloadCertificates _certificates;

    public TrustDomainAliasTests() => _certificates = new WorkloadCertificates(_authority);

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Fact]
    public async Task A_client_of_an_alias_is_accepted_and_reaches_a_server_that_it_knows_by_the_alias()
    {
        await using var listener = Listen(Aliases);
        await using var pool = new HbonePool(new HboneClient(_certificates, aliases: Aliases));
        var connecting = pool.ConnectAsync(new HboneDestination(OldWeb, [OldCart], listener.LocalEndPoint), "cart:80");
        using var request = await listener.AcceptAsync().AsTask().InTime();
        await using var accepted = request!.Accept();
        await using var tunnel = await connecting.InTime();

        // Each keeps the name that it has proved.
        Assert.Equal((OldWeb, Cart), (request.PeerIdentity, tunnel.PeerIdentity));
    }

    [Fact]
    public async Task A_policy_that_names_the_client_by_another_name_denies_it()
    {
        var deny = L4PolicySet.Create(new L4Authorization
        {
            Name = "no-web",
            Namespace = "shop",
            Scope = AuthorizationScope.Namespace,
            Action = AuthorizationAction.Deny,
            Rules = [new(new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Exact("cluster.local/ns/shop/sa/web")] }))],
        });
        await using var listener = Listen(Aliases);
        var connecting = new HboneClient(_certificates, aliases: Aliases).ConnectAsync(new HboneDestination(OldWeb, [Cart], listener.LocalEndPoint), "cart:80");
        using var request = await listener.AcceptAsync().AsTask().InTime();
        var names = Aliases.OtherNamesOf(Cart.TrustDomain, request!.PeerIdentity);
        var connection = new L4Connection(request.RemoteEndPoint.Address, request.PeerIdentity, request.LocalEndPoint, names);
        Assert.Equal("shop/no-web", Assert.IsType<L4Decision.Denied>(L4Authorizer.Authorize(deny, "shop", [], connection)).Policy);
        request.Refuse(401);
        Assert.Equal(HboneError.Refused, (await Assert.ThrowsAsync<HboneException>(() => connecting).InTime()).Error);
    }

    [Fact]
    public async Task Without_aliases_a_server_refuses_the_client()
    {
        await using var listener = Listen(TrustDomainAliases.None);
        var connecting = new HboneClient(_certificates, aliases: Aliases).ConnectAsync(new HboneDestination(OldWeb, [Cart], listener.LocalEndPoint), "cart:80");
        Assert.Equal(HboneError.HandshakeFailed, (await Assert.ThrowsAsync<HboneException>(() => connecting).InTime()).Error);
    }

    [Fact]
    public async Task Without_aliases_a_client_refuses_the_server()
    {
        await using var listener = Listen(Aliases);
        var connecting = new HboneClient(_certificates).ConnectAsync(new HboneDestination(OldWeb, [OldCart], listener.LocalEndPoint), "cart:80");
        Assert.Equal(HboneError.PeerRejected, (await Assert.ThrowsAsync<HboneException>(() => connecting).InTime()).Error);
    }

    private HboneListener Listen(TrustDomainAliases aliases) => HboneListener.Start(new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0)), new HboneListenerOptions
    {
        Certificate = token => _certificates.GetAsync(Cart, cancellationToken: token),
        Trust = _authority.TrustBundle,
        Aliases = aliases,
    });
}
