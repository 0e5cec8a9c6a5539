using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>As many tunnels on one connection as it may carry, all at work at once, over sockets and TLS.</summary>
public sealed class ManyTunnelsTests
{
    private const int Tunnels = 200;
    private const int OctetsEach = 1024 * 1024;
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    [Fact]
    public async Task Two_hundred_tunnels_on_one_connection_each_carry_their_own_octets_both_ways()
    {
        using var authority = DevelopmentCertificateAuthority.Create();
        await using var certificates = new WorkloadCertificates(authority);
        await using var listener = HboneListener.Start(new SocketTransportFactory(new SocketTransportOptions { EventLoops = Loops.Shared }).Listen(new IPEndPoint(IPAddress.Loopback, 0)), new HboneListenerOptions
        {
            Certificate = token => certificates.GetAsync(Cart, cancellationToken: token),
            Trust = authority.TrustBundle,
            Hbone = new HboneOptions { MaxConcurrentStreams = Tunnels },
        });
        await using var pool = new HbonePool(new HboneClient(certificates), new HbonePoolOptions { MaxStreamsPerConnection = Tunnels, ConnectionsPerDestination = 1 });
        var destination = new HboneDestination(Web, [Cart], listener.LocalEndPoint);

        var serving = ServeAsync(listener);
        var tunnels = await Task.WhenAll(Enumerable.Range(0, Tunnels).Select(i => pool.ConnectAsync(destination, $"10.0.0.1:{i}"))).InTime();
        Assert.Equal(1, pool.ConnectionCount);
        Assert.Single(tunnels.Select(tunnel => tunnel.ConnectionId).Distinct());

        var heard = await Task.WhenAll(tunnels.Select((tunnel, i) => ExchangeAsync(tunnel, i, isServer: false))).InTime();
        var heardByServer = (await serving.InTime()).ToDictionary(served => served.Number, served => served.Heard);
        var sent = await Task.WhenAll(Enumerable.Range(0, 2 * Tunnels).Select(SumOfAsync));
        for (var i = 0; i < Tunnels; i++)
        {
            Assert.Equal(sent[Seed(i, isServer: true)], heard[i]);
            Assert.Equal(sent[Seed(i, isServer: false)], heardByServer[i]);
        }
    }

    private static int Seed(int number, bool isServer) => (2 * number) + (isServer ? 1 : 0);

    private static async Task<(int Number, OctetSum Heard)[]> ServeAsync(HboneListener listener)
    {
        var serving = new List<Task<(int, OctetSum)>>();
        for (var i = 0; i < Tunnels; i++)
        {
            using var request = await listener.AcceptAsync();
            var number = int.Parse(request!.Authority.Split(':')[1]);
            var tunnel = request.Accept();
            serving.Add(Task.Run(async () => (number, await ExchangeAsync(tunnel, number, isServer: true))));
        }

        return await Task.WhenAll(serving);
    }

    // Both send at once. The end that closes first is the client's of the even tunnels; the other closes when it has seen that.
    private static async Task<OctetSum> ExchangeAsync(HboneTunnel tunnel, int number, bool isServer)
    {
        await using var disposing = tunnel;
        var endsFirst = isServer == (number % 2 == 1);
        var sending = tunnel.Output.SendRandomAsync(OctetsEach, Seed(number, isServer), complete: endsFirst);
        var heard = await tunnel.Input.SumAsync();
        await sending;
        if (!endsFirst)
        {
            await tunnel.Output.CompleteAsync();
        }

        return heard;
    }

    private static async Task<OctetSum> SumOfAsync(int seed)
    {
        var pipe = new System.IO.Pipelines.Pipe();
        var sending = pipe.Writer.SendRandomAsync(OctetsEach, seed);
        var sum = await pipe.Reader.SumAsync();
        await sending;
        return sum;
    }
}
