using System.Net;
using System.Net.Sockets;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;

const string Policies = """
    policies:
    - {name: http-only, namespace: shop, scope: Namespace, action: Allow, rules: [[[{destinationPorts: [80]}]]]}
    """;
using var authority = DevelopmentCertificateAuthority.Create();
await using var certificates = new WorkloadCertificates(authority);
var web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
var cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
var mesh = LocalConfiguration.Parse(Policies).ToState();
var sockets = new SocketTransportFactory();

// The other end of the tunnels: an HBONE server that greets.
await using var server = HboneListener.Start(
    sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0)),
    new HboneListenerOptions { Certificate = stop => certificates.GetAsync(cart, cancellationToken: stop), Trust = authority.TrustBundle });
_ = GreetAsync();

// The proxy: one listener for each target.
await using var pool = new HbonePool(new HboneClient(certificates));
foreach (var target in new[] { new IPEndPoint(IPAddress.Parse("10.0.0.7"), 80), new IPEndPoint(IPAddress.Parse("10.0.0.7"), 9090) })
{
    await using var listener = sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0));
    var proxying = ProxyAsync(listener, target);
    using var client = new TcpClient();
    await client.ConnectAsync(listener.LocalEndPoint);
    Console.WriteLine($"{target}: {await new StreamReader(client.GetStream()).ReadToEndAsync()}");
    await proxying;
}

async Task ProxyAsync(TransportListener listener, IPEndPoint target)
{
    await using var application = await listener.AcceptAsync(CancellationToken.None);
    switch (L4Authorizer.Authorize(mesh.Current.Policies, "shop", [], new L4Connection(application!.RemoteEndPoint.Address, web, target)))
    {
        case L4Decision.Denied denied:
            Console.WriteLine($"{target}: {denied.Reason}");
            break;
        case L4Decision.Allowed:
            await using (var tunnel = await pool.ConnectAsync(new HboneDestination(web, [cart], server.LocalEndPoint), target.ToString()))
            {
                try
                {
                    await TunnelRelay.RunAsync(application, tunnel, new RelayCounters());
                }
                catch (IOException)
                {
                    // One end closed before the other had said all; closing both is all that is left to do.
                }
            }

            break;
    }
}

async Task GreetAsync()
{
    while (await server.AcceptAsync() is { } request)
    {
        await using var tunnel = request.Accept();
        await tunnel.Output.WriteAsync(System.Text.Encoding.UTF8.GetBytes($"hello {request.PeerIdentity}, you asked for {request.Authority}"));
    }
}
