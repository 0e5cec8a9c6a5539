using System.Net;
using System.Security.Cryptography;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>Client and server of ours, over sockets and over memory, with real TLS.</summary>
public sealed class TunnelTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly WorkloadCertificates _certificates;
    private HboneListener _listener = null!;

    public TunnelTests() => _certificates = new WorkloadCertificates(_authority);

    public Task InitializeAsync()
    {
        _listener = HboneListener.Start(new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0)), new HboneListenerOptions
        {
            Certificate = token => _certificates.GetAsync(Cart, cancellationToken: token),
            Trust = _authority.TrustBundle,
        });
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _listener.DisposeAsync();
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Fact]
    public async Task Octets_go_through_both_ways_and_each_direction_ends_by_itself()
    {
        var serving = EchoOneAsync();
        await using var tunnel = await new HboneClient(_certificates).ConnectAsync(Destination(), "10.0.0.1:80").InTime();
        Assert.Equal(Cart, tunnel.PeerIdentity);

        var sent = RandomNumberGenerator.GetBytes(20 * 1024 * 1024);
        var sending = Task.Run(async () =>
        {
            await tunnel.Output.WriteAsync(sent);
            await tunnel.Output.CompleteAsync();
        });
        var received = await ReadAllAsync(tunnel.Input).InTime();
        await sending.InTime();

        Assert.Equal(SHA256.HashData(sent), SHA256.HashData(received));
        await serving.InTime();
    }

    private HboneDestination Destination() => new(Web, [Cart], _listener.LocalEndPoint);

    private async Task EchoOneAsync()
    {
        using var request = await _listener.AcceptAsync();
        await using var tunnel = request!.Accept();
        while (true)
        {
            var result = await tunnel.Input.ReadAsync();
            foreach (var segment in result.Buffer)
            {
                await tunnel.Output.WriteAsync(segment);
            }

            tunnel.Input.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                await tunnel.Output.CompleteAsync();
                return;
            }
        }
    }

    private static async Task<byte[]> ReadAllAsync(System.IO.Pipelines.PipeReader reader)
    {
        var all = new MemoryStream();
        await reader.CopyToAsync(all);
        return all.ToArray();
    }
}
