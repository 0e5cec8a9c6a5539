using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>The relay between an application and a tunnel.</summary>
public abstract class TunnelRelayTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly TransportFactory _network;
    private readonly IPAddress _address;
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly RelayCounters _counters = new();
    private readonly WorkloadCertificates _certificates;
    private readonly HboneListener _listener;
    private HboneTunnel _client = null!;
    private HboneTunnel _server = null!;
    private TransportConnection _application = null!;
    private TransportConnection _near = null!;
    private Task _relay = Task.CompletedTask;

    protected TunnelRelayTests(TransportFactory network, IPAddress address)
    {
        _network = network;
        _address = address;
        _certificates = new WorkloadCertificates(_authority);
        _listener = HboneListener.Start(_network.Listen(new IPEndPoint(address, 0)), new HboneListenerOptions
        {
            Certificate = token => _certificates.GetAsync(Cart, cancellationToken: token),
            Trust = _authority.TrustBundle,
        });
    }

    public async Task InitializeAsync()
    {
        var client = new HboneClient(_certificates, transport: _network).ConnectAsync(new HboneDestination(Web, [Cart], _listener.LocalEndPoint), "10.0.0.2:80");
        _server = (await _listener.AcceptAsync().InTime())!.Accept();
        _client = await client.InTime();
        await using var listener = _network.Listen(new IPEndPoint(_address, 0));
        var connecting = _network.ConnectAsync(listener.LocalEndPoint, source: null, CancellationToken.None).AsTask();
        _application = (await listener.AcceptAsync(CancellationToken.None).AsTask().InTime())!;
        _near = await connecting.InTime();
        _relay = TunnelRelay.RunAsync(_near, _server, _counters);
    }

    public async Task DisposeAsync()
    {
        await _client.DisposeAsync();
        await _server.DisposeAsync();
        await _application.DisposeAsync();
        await _near.DisposeAsync();
        await _listener.DisposeAsync();
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Fact]
    public async Task Each_direction_ends_by_itself()
    {
        await _client.Output.WriteAsync("question"u8.ToArray());
        await _client.Output.CompleteAsync();
        Assert.Equal("question", await new StreamReader(_application.Stream).ReadToEndAsync().InTime());
        Assert.False(_relay.IsCompleted);

        await _application.Stream.WriteAsync("answer"u8.ToArray());
        _application.ShutdownSend();
        await _relay.InTime();

        Assert.Equal((6, 8), (_counters.ToTunnel, _counters.FromTunnel));
        Assert.Equal("answer", await new StreamReader(_client.AsStream()).ReadToEndAsync().InTime());
    }

    [Fact]
    public async Task A_peer_that_resets_ends_a_relay_whose_application_is_quiet()
    {
        await _client.Output.WriteAsync("last words"u8.ToArray());
        var heard = new byte[10];
        await _application.Stream.ReadExactlyAsync(heard).InTime();

        _client.Abort();

        Assert.Equal("the peer takes no more", (await Assert.ThrowsAsync<IOException>(() => _relay.InTime())).Message);
    }

    [Fact]
    public async Task An_application_that_is_gone_ends_the_relay()
    {
        await _application.DisposeAsync();
        await _client.Output.WriteAsync(new byte[1024 * 1024]).InTime();
        await Assert.ThrowsAsync<IOException>(() => _relay.InTime());
    }

    [Fact]
    public async Task An_application_that_sends_when_the_connection_is_lost_ends_with_the_reason()
    {
        var sending = Task.Run(async () =>
        {
            while (true)
            {
                await _application.Stream.WriteAsync(new byte[64 * 1024]);
            }
        });
        await _client.Output.WriteAsync("the rest"u8.ToArray());
        await _listener.DisposeAsync();
        Assert.IsType<HboneException>(await Assert.ThrowsAnyAsync<IOException>(() => _relay.InTime()));
        _near.Abort();
        await Assert.ThrowsAnyAsync<IOException>(() => sending.InTime());
    }
}

/// <summary>The relay over a network in memory, which cannot be polled.</summary>
public sealed class TunnelRelayInMemoryTests() : TunnelRelayTests(new InMemoryTransportFactory(), IPAddress.Parse("10.0.0.2"));

/// <summary>The relay over sockets of event loops.</summary>
public sealed class TunnelRelayOverSocketsTests() : TunnelRelayTests(new SocketTransportFactory(new SocketTransportOptions { EventLoops = Loops.Shared }), IPAddress.Loopback);
