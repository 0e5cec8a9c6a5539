using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;

using var authority = DevelopmentCertificateAuthority.Create();
await using var certificates = new WorkloadCertificates(authority);
var web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
var cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
var listening = new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0));
await using var server = HboneListener.Start(listening, new() { Certificate = stop => certificates.GetAsync(cart, cancellationToken: stop), Trust = authority.TrustBundle });
var tunnel = new HboneClient(certificates).ConnectAsync(new HboneDestination(web, [cart], server.LocalEndPoint), "cart.shop:80");
using var request = await server.AcceptAsync();
await using var accepted = request!.Accept();
await accepted.Output.WriteAsync("hello from the cart\n"u8.ToArray());
await using var stream = (await tunnel).AsStream();
Console.WriteLine($"{request.PeerIdentity} asked for {request.Authority} and reads: {await new StreamReader(stream).ReadLineAsync()}");
