using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>A service on another network is reached by a tunnel within a tunnel, through a gateway that cannot read what it carries (ztunnel §2.10, §7.5).</summary>
public sealed class OtherNetworkTests
{
    private const string CartHost = "cart.shop.svc.cluster.local";

    [Fact]
    public async Task A_service_behind_a_gateway_is_reached_with_ones_own_identity()
    {
        await using var nodes = await TwoNodes.StartAsync();
        var gatewayAddress = IPAddress.Parse(nodes.CartAddress.ToString()[..^1] + "3");
        await File.WriteAllTextAsync(nodes.File, $$$"""
            workloads:
            - {uid: web, name: web-0, namespace: shop, serviceAccount: web, workloadIps: [{{{nodes.WebAddress}}}], protocol: HBONE, services: {}}
            - {uid: gateway, name: gateway-0, namespace: mesh, serviceAccount: gateway, workloadIps: [{{{gatewayAddress}}}], protocol: HBONE, services: {}}
            - uid: cart
              name: cart-0
              namespace: shop
              serviceAccount: cart
              network: far
              networkGateway: {destination: /{{{gatewayAddress}}}, hboneMtlsPort: 15008}
              workloadIps: [{{{nodes.CartAddress}}}]
              protocol: HBONE
              services: {shop/{{{CartHost}}}: {80: {{{TwoNodes.ApplicationPort}}} } }
            services:
            - {name: cart, namespace: shop, hostname: {{{CartHost}}}, vips: [/10.96.0.2], ports: {80: 8080}, subjectAltNames: [spiffe://cluster.local/ns/shop/sa/cart]}
            """);
        await nodes.Web.LogsAsync("applied: 3 workloads");
        await nodes.Cart.LogsAsync("applied: 3 workloads");

        using var authority = DevelopmentCertificateAuthority.Open(nodes.CertificateDirectory);
        await using var certificates = new WorkloadCertificates(authority);
        var sockets = new SocketTransportFactory();
        await using var gateway = HboneListener.Start(sockets.Listen(new IPEndPoint(gatewayAddress, 15008)), new HboneListenerOptions
        {
            Certificate = token => certificates.GetAsync(SpiffeId.Parse("spiffe://cluster.local/ns/mesh/sa/gateway"), cancellationToken: token),
            Trust = authority.TrustBundle,
        });
        var carrying = CarryOneAsync(gateway, sockets, new IPEndPoint(nodes.CartAddress, 15008));

        await using (var connection = await nodes.ConnectAsync())
        {
            Assert.Equal("hello", await connection.EchoAsync("hello"));
        }

        await nodes.Web.LogsAsync("connection complete", $"dst.addr={gatewayAddress}:15008 dst.hbone_addr={CartHost}:80", "dst.identity=\"spiffe://cluster.local/ns/shop/sa/cart\"");
        await nodes.Cart.LogsAsync("connection complete", $"src.addr={gatewayAddress}:", "src.identity=\"spiffe://cluster.local/ns/shop/sa/web\"", $"dst.hbone_addr={CartHost}:80");
        nodes.Web.Signal("KILL");
        Assert.Equal($"{CartHost}:80", await carrying.InTime());
    }

    private static async Task<string> CarryOneAsync(HboneListener gateway, SocketTransportFactory sockets, IPEndPoint target)
    {
        using var request = await gateway.AcceptAsync() ?? throw new InvalidOperationException("the gateway was closed");

        // From the gateway's own address, as the node behind it sees it.
        await using var remote = await sockets.ConnectAsync(target, gateway.LocalEndPoint.Address, CancellationToken.None);
        await using var tunnel = request.Accept();
        try
        {
            await TunnelRelay.RunAsync(remote, tunnel, new RelayCounters());
        }
        catch (IOException)
        {
            // The client's proxy has gone.
        }

        return request.Authority;
    }
}
