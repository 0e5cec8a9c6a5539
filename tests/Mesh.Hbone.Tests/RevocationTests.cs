using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Hbone;

/// <summary>A peer whose certificate is revoked is refused, and an open connection to or from it is closed (ztunnel §3.5).</summary>
public sealed class RevocationTests : IAsyncLifetime
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-crl-");
    private readonly InMemoryTransportFactory _network = new();
    private readonly TaskCompletionSource<HboneConnectionFailure> _failure = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private DevelopmentCertificateAuthority _serverAuthority = null!;
    private DevelopmentCertificateAuthority _clientAuthority = null!;
    private WorkloadCertificates _serverCertificates = null!;
    private WorkloadCertificates _clientCertificates = null!;
    private HboneListener _listener = null!;

    // Two authorities of one root: each side has a trust bundle of its own.
    public Task InitializeAsync()
    {
        _serverAuthority = DevelopmentCertificateAuthority.Open(_directory.FullName);
        _clientAuthority = DevelopmentCertificateAuthority.Open(_directory.FullName);
        _serverCertificates = new WorkloadCertificates(_serverAuthority);
        _clientCertificates = new WorkloadCertificates(_clientAuthority);
        _listener = HboneListener.Start(_network.Listen(new IPEndPoint(IPAddress.Loopback, 15008)), new HboneListenerOptions
        {
            Certificate = token => _serverCertificates.GetAsync(Cart, cancellationToken: token),
            Trust = _serverAuthority.TrustBundle,
            ConnectionFailed = failure => _failure.TrySetResult(failure),
        });
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _listener.DisposeAsync();
        await _serverCertificates.DisposeAsync();
        await _clientCertificates.DisposeAsync();
        _serverAuthority.Dispose();
        _clientAuthority.Dispose();
        _directory.Delete(recursive: true);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_open_connection_is_closed_by_the_side_that_learns_of_it(bool isServer)
    {
        await using var pool = new HbonePool(new HboneClient(_clientCertificates, transport: _network));
        var (tunnel, accepted) = await OpenAsync(pool);
        await using var _ = tunnel;
        await using var __ = accepted;
        var revoked = await (isServer ? _clientCertificates.GetAsync(Web) : _serverCertificates.GetAsync(Cart));
        (isServer ? _serverAuthority : _clientAuthority).TrustBundle.ReplaceRevocationLists(ListOf(revoked));

        var error = await Assert.ThrowsAsync<HboneException>(async () => await (isServer ? accepted : tunnel).Input.ReadAsync()).InTime();
        Assert.Equal(HboneError.PeerRevoked, error.Error);
        Assert.StartsWith("connection closed: peer certificate revoked by CRL", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<HboneException>(async () => await (isServer ? tunnel : accepted).Input.ReadAsync()).InTime();
    }

    [Fact]
    public async Task A_revoked_client_is_refused()
    {
        _serverAuthority.TrustBundle.ReplaceRevocationLists(ListOf(await _clientCertificates.GetAsync(Web)));
        await Assert.ThrowsAsync<HboneException>(() => new HboneClient(_clientCertificates, transport: _network).ConnectAsync(Destination(), "cart:80")).InTime();
        var failure = await _failure.Task.InTime();
        Assert.Equal(PeerRejection.Revoked, failure.Rejection);
        Assert.StartsWith($"certificate of {Web}: its chain holds the revoked serial number ", failure.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_revoked_server_is_refused()
    {
        _clientAuthority.TrustBundle.ReplaceRevocationLists(ListOf(await _serverCertificates.GetAsync(Cart)));
        var error = await Assert.ThrowsAsync<HboneException>(() => new HboneClient(_clientCertificates, transport: _network).ConnectAsync(Destination(), "cart:80")).InTime();
        Assert.Equal(HboneError.PeerRevoked, error.Error);
    }

    [Fact]
    public async Task Connections_of_others_go_on()
    {
        await using var pool = new HbonePool(new HboneClient(_clientCertificates, transport: _network));
        var (tunnel, accepted) = await OpenAsync(pool);
        await using var _ = tunnel;
        await using var __ = accepted;
        _serverAuthority.TrustBundle.ReplaceRevocationLists(ListOf(await _serverAuthority.IssueAsync(Web, CancellationToken.None)));
        await tunnel.Output.WriteAsync("still here"u8.ToArray());
        Assert.Equal(10, (await accepted.Input.ReadAtLeastAsync(10).InTime()).Buffer.Length);
    }

    private async Task<(HboneTunnel Tunnel, HboneTunnel Accepted)> OpenAsync(HbonePool pool)
    {
        var connecting = pool.ConnectAsync(Destination(), "cart:80");
        var request = await _listener.AcceptAsync().InTime();
        var accepted = request!.Accept();
        return (await connecting.InTime(), accepted);
    }

    private RevocationLists ListOf(WorkloadCertificate certificate)
    {
        using var root = TestCertificates.RootOf(_directory.FullName);
        return RevocationLists.Parse(TestCertificates.RevocationList(root, certificate.Leaf));
    }

    private HboneDestination Destination() => new(Web, [Cart], _listener.LocalEndPoint);
}
