using System.Diagnostics;
using System.IO.Pipelines;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.Versioning;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Mesh.Core.Identity;
using Mesh.Testing;

namespace Mesh.Hbone.Transport;

/// <summary>TLS by OpenSSL and by the runtime's SslStream, with each other, over every kind of transport.</summary>
[SupportedOSPlatform("linux")]
public sealed class TlsStreamTests : IAsyncDisposable
{
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");

    private const int MoreThanSocketsTake = 64 * 1024 * 1024;

    private readonly X509Certificate2 _root = TestCertificates.Root();
    private readonly TrustBundle _trust = new();
    private readonly PeerVerification _client = new();
    private readonly PeerVerification _server = new();
    private readonly WorkloadCertificate _web;
    private readonly WorkloadCertificate _cart;
    private readonly List<IAsyncDisposable> _open = [];

    public TlsStreamTests()
    {
        _trust.Replace(TrustDomain.ClusterLocal, [_root]);
        _web = new(TestCertificates.Leaf(_root, new TestLeaf { Uris = [Web.ToString()] }));
        _cart = new(TestCertificates.Leaf(_root, new TestLeaf { Uris = [Cart.ToString()] }));
    }

    /// <summary>Whose TLS a side is.</summary>
    public enum Tls
    {
        OpenSsl,
        SslStream,
    }

    /// <summary>What TLS goes over.</summary>
    public enum Over
    {
        EventLoop,
        Socket,
        Memory,
    }

    public static TheoryData<Tls, Tls, Over> All
    {
        get
        {
            var all = new TheoryData<Tls, Tls, Over>();
            foreach (var over in Enum.GetValues<Over>())
            {
                all.Add(Tls.OpenSsl, Tls.OpenSsl, over);
                all.Add(Tls.OpenSsl, Tls.SslStream, over);
                all.Add(Tls.SslStream, Tls.OpenSsl, over);
                all.Add(Tls.SslStream, Tls.SslStream, over);
            }

            return all;
        }
    }

    public static TheoryData<Over> EachTransport => [.. Enum.GetValues<Over>()];

    public static TheoryData<Tls, Over> OneSide
    {
        get
        {
            var all = new TheoryData<Tls, Over>();
            foreach (var over in Enum.GetValues<Over>())
            {
                all.Add(Tls.OpenSsl, over);
                all.Add(Tls.SslStream, over);
            }

            return all;
        }
    }

    public static TheoryData<string, TestLeaf, PeerRejection> BadPeers => new()
    {
        { "several URI names", new() { Uris = [Web.ToString(), Cart.ToString()] }, PeerRejection.SeveralUriNames },
        { "no URI name", new() { Uris = [] }, PeerRejection.NoSpiffeId },
        { "expired", new() { NotBefore = DateTimeOffset.UtcNow.AddHours(-2), NotAfter = DateTimeOffset.UtcNow.AddHours(-1) }, PeerRejection.Expired },
        { "not yet valid", new() { NotBefore = DateTimeOffset.UtcNow.AddHours(1), NotAfter = DateTimeOffset.UtcNow.AddHours(2) }, PeerRejection.NotYetValid },
        { "self-signed", new() { SelfSigned = true }, PeerRejection.SelfSigned },
        { "a CA", new() { IsCertificateAuthority = true }, PeerRejection.WrongUsage },
        { "for another use", new() { Usages = ["1.3.6.1.5.5.7.3.3"] }, PeerRejection.WrongUsage },
    };

    public async ValueTask DisposeAsync()
    {
        foreach (var one in _open)
        {
            await one.DisposeAsync();
        }

        _web.Dispose();
        _cart.Dispose();
        _root.Dispose();
    }

    [Theory]
    [InlineData(false, typeof(OpenSslTlsStream))]
    [InlineData(true, typeof(SslTlsStream))]
    public async Task OpenSsl_is_called_directly_unless_it_is_switched_off(bool usesSslStream, Type kind)
    {
        AppContext.SetSwitch(OpenSslLibrary.UseSslStreamSwitch, usesSslStream);
        try
        {
            var (near, far) = Transports(Over.EventLoop);
            var connecting = TlsStream.AuthenticateAsClientAsync(far, Client(), _server, default);
            await using var accepted = await TlsStream.AuthenticateAsServerAsync(near, Server(), _client, default).InTime();
            await using var connected = await connecting.InTime();
            Assert.IsType(kind, accepted);
            Assert.IsType(kind, connected);
            Assert.Equal((Web, Cart), (_client.Identity, _server.Identity));
        }
        finally
        {
            AppContext.SetSwitch(OpenSslLibrary.UseSslStreamSwitch, false);
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task Both_sides_prove_who_they_are(Tls server, Tls client, Over over)
    {
        var (accepted, connected) = await ConnectAsync(server, client, over);
        Assert.Equal((Web, Cart), (_client.Identity, _server.Identity));
        Assert.Equal((_web.NotAfter, _cart.NotAfter), (_client.NotAfter, _server.NotAfter));
        Assert.Equal((SslApplicationProtocol.Http2, SslApplicationProtocol.Http2), (accepted.NegotiatedApplicationProtocol, connected.NegotiatedApplicationProtocol));
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task What_is_written_comes_out_both_ways_at_once(Tls server, Tls client, Over over)
    {
        var (accepted, connected) = await ConnectAsync(server, client, over);
        var (up, down) = (Octets(seed: 1, 3_000_000), Octets(seed: 2, 2_000_000));
        var writing = Task.WhenAll(WriteAsync(connected, up), WriteAsync(accepted, down));
        var read = await Task.WhenAll(ReadAsync(accepted, up.Length), ReadAsync(connected, down.Length)).InTime();
        await writing.InTime();
        Assert.True(up.SequenceEqual(read[0]));
        Assert.True(down.SequenceEqual(read[1]));
    }

    [Theory]
    [MemberData(nameof(OneSide))]
    public async Task Who_asks_for_nothing_waits_until_there_is_something(Tls tls, Over over)
    {
        var (accepted, connected) = await ConnectAsync(tls, Tls.OpenSsl, over);
        var waiting = accepted.ReadAsync(Memory<byte>.Empty).AsTask();
        Assert.False(waiting.IsCompleted);
        await connected.WriteAsync(new byte[] { 7 });
        Assert.Equal(0, await waiting.InTime());
        Assert.Equal(0, await accepted.ReadAsync(Memory<byte>.Empty).InTime());
        Assert.Equal((byte[])[7], await ReadAsync(accepted, 1).InTime());
    }

    // What has come and was not read is in the buffers that are given back.
    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task Who_has_not_read_everything_loses_nothing_when_buffers_are_given_back(Over over)
    {
        var (accepted, connected) = await ConnectAsync(Tls.OpenSsl, Tls.OpenSsl, over);
        var octets = Octets(seed: 8, 10_000);
        await connected.WriteAsync(octets);
        Assert.Equal(0, await accepted.ReadAsync(Memory<byte>.Empty).InTime());
        ReleaseTwice();
        Assert.Equal(octets[..10], await ReadAsync(accepted, 10).InTime());
        ReleaseTwice();
        Assert.Equal(octets[10..], await ReadAsync(accepted, octets.Length - 10).InTime());
        ReleaseTwice();
        await connected.WriteAsync(octets);
        Assert.Equal(octets, await ReadAsync(accepted, octets.Length).InTime());

        void ReleaseTwice()
        {
            accepted.ReleaseIfIdle();
            accepted.ReleaseIfIdle();
        }
    }

    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task Who_polls_waits_once_nothing_is_left(Over over)
    {
        var (accepted, connected) = await ConnectAsync(Tls.OpenSsl, Tls.OpenSsl, over);
        var reader = (IPolledReader)accepted;
        var octets = Octets(seed: 9, 100_000);
        for (var round = 0; round < 20; round++)
        {
            Assert.Empty(Read(octets.Length));
            var waiting = reader.WaitForEventAsync(CancellationToken.None).AsTask();
            Assert.False(waiting.IsCompleted);
            await connected.WriteAsync(octets);
            var read = new List<byte>();
            while (read.Count < octets.Length)
            {
                await waiting.InTime();
                for (var part = Read(7_000); part.Length > 0; part = Read(7_000))
                {
                    read.AddRange(part);
                }

                waiting = read.Count < octets.Length ? reader.WaitForEventAsync(CancellationToken.None).AsTask() : waiting;
            }

            Assert.Equal(octets, read);
        }

        await connected.ShutdownAsync();
        await reader.WaitForEventAsync(CancellationToken.None).AsTask().InTime();
        Assert.True(reader.TryRead(new byte[1], out var count));
        Assert.Equal(0, count);

        byte[] Read(int atMost)
        {
            var buffer = new byte[atMost];
            return reader.TryRead(buffer, out var count) ? buffer[..count] : [];
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task An_end_is_told_and_the_other_direction_goes_on(Tls server, Tls client, Over over)
    {
        var (accepted, connected) = await ConnectAsync(server, client, over);
        await connected.WriteAsync(new byte[] { 1, 2, 3 });
        await connected.ShutdownAsync();
        Assert.Equal((byte[])[1, 2, 3], await ReadAsync(accepted, 3).InTime());
        Assert.Equal(0, await accepted.ReadAsync(new byte[1]).InTime());
        Assert.Equal(0, await accepted.ReadAsync(new byte[1]).InTime());
        await accepted.WriteAsync(new byte[] { 4, 5 });
        Assert.Equal((byte[])[4, 5], await ReadAsync(connected, 2).InTime());
    }

    [Theory]
    [MemberData(nameof(OneSide))]
    public async Task An_end_that_was_not_told_is_an_end(Tls tls, Over over)
    {
        var (accepted, connected) = await ConnectAsync(tls, Tls.OpenSsl, over);

        // Nothing must be left unread, or the end is a reset.
        await accepted.WriteAsync(new byte[] { 0 });
        Assert.Equal((byte[])[0], await ReadAsync(connected, 1).InTime());
        await connected.WriteAsync(new byte[] { 1 });
        await connected.DisposeAsync();
        Assert.Equal((byte[])[1], await ReadAsync(accepted, 1).InTime());
        Assert.Equal(0, await accepted.ReadAsync(Memory<byte>.Empty).InTime());
        Assert.Equal(0, await accepted.ReadAsync(new byte[1]).InTime());
    }

    [Theory]
    [MemberData(nameof(OneSide))]
    public async Task Who_writes_more_than_is_read_waits_and_goes_on(Tls tls, Over over)
    {
        var (accepted, connected) = await ConnectAsync(Tls.OpenSsl, tls, over);
        var octets = Octets(seed: 3, MoreThanSocketsTake);
        var writing = WriteAsync(connected, octets);

        // It does not keep the other direction from going on.
        await accepted.WriteAsync(new byte[] { 9 });
        Assert.Equal((byte[])[9], await ReadAsync(connected, 1).InTime());
        Assert.False(writing.IsCompleted);
        var read = await ReadAsync(accepted, octets.Length).InTime();
        Assert.True(octets.SequenceEqual(read));
        await writing.InTime();
    }

    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task Who_waits_learns_that_the_stream_was_disposed(Over over)
    {
        var (accepted, _) = await ConnectAsync(Tls.OpenSsl, Tls.OpenSsl, over);
        var reading = accepted.ReadAsync(new byte[1]).AsTask();
        var writing = accepted.WriteAsync(Octets(seed: 4, MoreThanSocketsTake)).AsTask();
        await accepted.DisposeAsync();
        accepted.ReleaseIfIdle();
        Assert.NotNull(await Record.ExceptionAsync(() => reading.InTime()));
        Assert.NotNull(await Record.ExceptionAsync(() => writing.InTime()));
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => Assert.Equal(0, await accepted.ReadAsync(Memory<byte>.Empty)));
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await accepted.WriteAsync(new byte[1]));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => accepted.ShutdownAsync());
    }

    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task A_read_that_was_given_up_takes_nothing(Over over)
    {
        var (accepted, connected) = await ConnectAsync(Tls.OpenSsl, Tls.OpenSsl, over);
        using var stop = new CancellationTokenSource();
        var reading = accepted.ReadAsync(new byte[10], stop.Token).AsTask();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading.InTime());
        await connected.WriteAsync(new byte[] { 1, 2 });
        Assert.Equal((byte[])[1, 2], await ReadAsync(accepted, 2).InTime());
    }

    [Theory]
    [InlineData(Over.EventLoop, true)]
    [InlineData(Over.EventLoop, false)]
    [InlineData(Over.Socket, true)]
    [InlineData(Over.Socket, false)]
    [InlineData(Over.Memory, true)]
    [InlineData(Over.Memory, false)]
    public async Task What_is_no_record_of_the_peers_is_a_failure_and_not_an_end(Over over, bool waitsBefore)
    {
        var (near, far) = Transports(over);
        var connecting = AuthenticateAsync(Tls.OpenSsl, far, Client());
        var accepted = await AuthenticateAsync(Tls.OpenSsl, near, Server()).InTime();
        var connected = await connecting.InTime();
        await connected.WriteAsync(new byte[] { 1, 2 });

        // A whole record of application data, by nobody who has the key.
        await far.WriteAsync(new byte[] { 23, 3, 3, 0, 32 }.Concat(new byte[32]).ToArray());
        Assert.Equal((byte[])[1, 2], await ReadAsync(accepted, 2).InTime());
        if (waitsBefore)
        {
            Assert.Equal(0, await accepted.ReadAsync(Memory<byte>.Empty).InTime());
        }

        var failure = await Assert.ThrowsAsync<IOException>(async () => Assert.Fail($"read {await accepted.ReadAsync(new byte[1]).InTime()}"));
        Assert.Contains("decryption failed or bad record mac", failure.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<IOException>(async () => await accepted.WriteAsync(new byte[1]));
        await Assert.ThrowsAsync<IOException>(async () => Assert.Fail($"read {await accepted.ReadAsync(new byte[1]).InTime()}"));

        if (over is not Over.Memory)
        {
            // The peer is told: an alert (RFC 8446, section 5.2).
            failure = await Assert.ThrowsAsync<IOException>(async () => Assert.Fail($"read {await connected.ReadAsync(new byte[1]).InTime()}"));
            Assert.Contains("bad record mac", failure.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(BadPeers))]
    public async Task A_bad_client_is_refused_by_the_rule_that_it_broke(string what, TestLeaf shape, PeerRejection rule)
    {
        using var leaf = TestCertificates.Leaf(_root, shape);
        var options = Client();
        options.ClientCertificateContext = SslStreamCertificateContext.Create(leaf, null, offline: true);
        var (near, far) = Transports(Over.EventLoop);
        var connecting = AuthenticateAsync(Tls.SslStream, far, options);
        await Assert.ThrowsAsync<AuthenticationException>(() => AuthenticateAsync(Tls.OpenSsl, near, Server()).InTime());
        Assert.True(rule == _client.Rejection, what);
        Assert.Null(_client.Identity);

        // In TLS 1.3 a client is done before the server has looked at its certificate.
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            var connected = await connecting.InTime();
            if (await connected.ReadAsync(new byte[1]).InTime() == 0)
            {
                throw new IOException("the server has closed the connection");
            }
        });
    }

    [Theory]
    [MemberData(nameof(BadPeers))]
    public async Task A_bad_server_is_refused_by_the_rule_that_it_broke(string what, TestLeaf shape, PeerRejection rule)
    {
        using var leaf = TestCertificates.Leaf(_root, shape with { Uris = [.. shape.Uris.Select(uri => uri == Web.ToString() ? Cart.ToString() : Web.ToString())] });
        var options = Server();
        options.ServerCertificateContext = SslStreamCertificateContext.Create(leaf, null, offline: true);
        var (near, far) = Transports(Over.Socket);
        var accepting = AuthenticateAsync(Tls.SslStream, near, options);
        await Assert.ThrowsAsync<AuthenticationException>(() => AuthenticateAsync(Tls.OpenSsl, far, Client()).InTime());
        Assert.True(rule == _server.Rejection, what);
        await Assert.ThrowsAnyAsync<Exception>(() => accepting.InTime());
        Assert.Null(_client.Identity);
    }

    [Fact]
    public async Task A_client_without_a_certificate_is_refused()
    {
        var options = Client();
        options.ClientCertificateContext = null;
        var refusal = await RefusalAsync(options);
        Assert.Contains("did not return a certificate", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(PeerRejection.NoCertificate, _client.Rejection);
    }

    [Fact]
    public async Task A_client_that_offers_no_version_of_ours_is_refused()
    {
        var options = Client();
        options.EnabledSslProtocols = SslProtocols.Tls12;
        options.CipherSuitesPolicy = null;
        Assert.Contains("unsupported protocol", (await RefusalAsync(options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_that_offers_no_protocol_of_ours_is_refused()
    {
        var options = Client();
        options.ApplicationProtocols = [SslApplicationProtocol.Http11, new SslApplicationProtocol("h2c")];
        Assert.Contains("no application protocol", (await RefusalAsync(options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ours_is_taken_of_several_protocols()
    {
        var options = Client();
        options.ApplicationProtocols = [SslApplicationProtocol.Http11, SslApplicationProtocol.Http2];
        var (near, far) = Transports(Over.EventLoop);
        var connecting = AuthenticateAsync(Tls.SslStream, far, options);
        Assert.Equal(SslApplicationProtocol.Http2, (await AuthenticateAsync(Tls.OpenSsl, near, Server()).InTime()).NegotiatedApplicationProtocol);
        await connecting.InTime();
    }

    [Fact]
    public async Task A_client_that_offers_no_protocol_at_all_has_none()
    {
        var options = Client();
        options.ApplicationProtocols = null;
        var (near, far) = Transports(Over.EventLoop);
        var connecting = AuthenticateAsync(Tls.SslStream, far, options);
        Assert.Equal(default, (await AuthenticateAsync(Tls.OpenSsl, near, Server()).InTime()).NegotiatedApplicationProtocol);
        await connecting.InTime();
    }

    [Fact]
    public async Task A_chain_by_way_of_an_intermediate_is_accepted_from_both_sides()
    {
        using var intermediate = TestCertificates.Intermediate(_root);
        using var web = Under(intermediate, Web);
        using var cart = Under(intermediate, Cart);
        var (near, far) = Transports(Over.EventLoop);
        var connecting = AuthenticateAsync(Tls.OpenSsl, far, SpiffeTls.ClientOptions(web, _trust, [Cart], _server, TimeProvider.System));
        await AuthenticateAsync(Tls.OpenSsl, near, SpiffeTls.ServerOptions(cart, _trust, _client, TimeProvider.System)).InTime();
        await connecting.InTime();
        Assert.Equal((Web, Cart), (_client.Identity, _server.Identity));
        Assert.Equal((2, 2), (_client.Chain.Length, _server.Chain.Length));
    }

    [Fact]
    public async Task A_certificate_that_was_released_is_not_presented()
    {
        await ConnectAsync(Tls.OpenSsl, Tls.OpenSsl, Over.EventLoop);
        var options = Server();
        _cart.Dispose();
        var (near, _) = Transports(Over.EventLoop);
        var refusal = await Assert.ThrowsAsync<AuthenticationException>(() => AuthenticateAsync(Tls.OpenSsl, near, options).InTime());
        Assert.Equal("the certificate to present has been released", refusal.Message);
    }

    [Fact]
    public void Options_of_another_kind_are_not_taken()
    {
        var options = Server();
        options.ClientCertificateRequired = false;
        Assert.Throws<ArgumentException>(() => TlsParameters.Of(options, _client));
        var client = Client();
        client.EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13;
        Assert.Throws<ArgumentException>(() => TlsParameters.Of(client, _server));
    }

    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task A_peer_that_says_nothing_is_waited_for_until_that_is_given_up(Over over)
    {
        var (near, far) = Transports(over);
        using var stop = new CancellationTokenSource();
        var accepting = OpenSslTlsStream.AuthenticateAsync(near, TlsParameters.Of(Server(), _client), stop.Token);
        await far.WriteAsync(new byte[] { 22, 3, 1 });
        Assert.False(accepting.IsCompleted);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => accepting.InTime());
    }

    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task A_peer_that_goes_in_the_handshake_is_a_lost_connection(Over over)
    {
        var (near, far) = Transports(over);
        var accepting = AuthenticateAsync(Tls.OpenSsl, near, Server());
        await far.WriteAsync(new byte[] { 22, 3, 1 });
        await far.DisposeAsync();
        Assert.Equal("the peer closed the connection during the TLS handshake", (await Assert.ThrowsAsync<IOException>(() => accepting.InTime())).Message);
    }

    // A client's first message, with octets of it changed, cut off and added to: whatever comes of it, it ends.
    [Fact]
    public async Task Broken_handshakes_end()
    {
        var hello = await FirstMessageAsync();
        var random = new Random(4711);
        for (var round = 0; round < 400; round++)
        {
            var broken = hello.ToArray();
            for (var changes = random.Next(1, 8); changes > 0; changes--)
            {
                broken[random.Next(round % 2 == 0 ? 5 : 0, broken.Length)] = (byte)random.Next(256);
            }

            var (near, far) = Transports(Over.Memory);
            var accepting = AuthenticateAsync(Tls.OpenSsl, near, Server());
            await far.WriteAsync(broken.Take(round % 5 == 0 ? random.Next(broken.Length) : broken.Length).Concat(Octets(round, random.Next(64))).ToArray());
            await far.DisposeAsync();
            var error = await Record.ExceptionAsync(() => accepting.InTime());
            Assert.True(error is AuthenticationException or IOException, $"round {round}: {error}");
            Assert.Null(_client.Identity);
        }
    }

    // RFC 8446, section 4.6.3: a peer may change its keys at any time, and ask for the same.
    [RequiresProgram("openssl", "openssl")]
    public async Task A_peer_may_change_its_keys()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var (certificate, key) = await WriteFilesAsync();
        await using var peer = Peer.Start("openssl", "s_client", "-connect", $"{listener.LocalEndpoint}", "-tls1_3", "-alpn", "h2", "-cert", certificate, "-key", key);
        var accepted = await AcceptAsync(listener);
        var changes = 0;
        foreach (var command in new[] { "k", "K", "K" })
        {
            // It takes a command for one when it reads it alone.
            changes++;
            await peer.TellAsync(command);
            await Eventually.Until("keys are changed", () => peer.Output.Split("KEYUPDATE").Length > changes);
            await peer.TellAsync($"after {command}");
            Assert.Equal($"after {command}\n", Encoding.ASCII.GetString(await ReadAsync(accepted, 8).InTime()));
            await accepted.WriteAsync(Encoding.ASCII.GetBytes($"new keys {changes}\n"));
            await peer.LogsAsync($"new keys {changes}");
        }
    }

    [RequiresProgramTheory("python3", "python3")]
    [InlineData(1_000, null)]
    [InlineData(100_000, "octets of TLS without data in them; the limit is 262144")]
    public async Task A_peer_that_only_changes_its_keys_is_cut_off(int changes, string? fault)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var (certificate, key) = await WriteFilesAsync();
        var endPoint = (IPEndPoint)listener.LocalEndpoint;
        await using var peer = Peer.Start(
            "python3", Path.Combine(AppContext.BaseDirectory, "Peers", "key_updates.py"), $"{endPoint.Address}", $"{endPoint.Port}", certificate, key, $"{changes}");
        await using var accepted = await AcceptAsync(listener);
        if (fault is null)
        {
            Assert.Equal("that was all"u8.ToArray(), await ReadAsync(accepted, 12).InTime());
            return;
        }

        var failure = await Record.ExceptionAsync(async () => Assert.Fail($"read {await accepted.ReadAsync(Memory<byte>.Empty).InTime() + await accepted.ReadAsync(new byte[1]).InTime()}"));
        Assert.Contains(fault, Assert.IsType<IOException>(failure).Message, StringComparison.Ordinal);
        await accepted.DisposeAsync();
        await peer.SaysAsync("cut after");
    }

    // What comes is cut at every place, and OpenSSL asked in between, to read and to give its buffers back.
    [Theory]
    [MemberData(nameof(EachTransport))]
    public async Task Records_may_come_in_the_smallest_pieces(Over over)
    {
        var (near, nearPump) = Transports(over);
        var (far, farPump) = Transports(over);
        using var stop = new CancellationTokenSource();
        var pumping = Task.WhenAll(PumpAsync(nearPump, farPump, stop.Token), PumpAsync(farPump, nearPump, stop.Token));
        var connecting = AuthenticateAsync(Tls.OpenSsl, far, Client());
        var accepted = await AuthenticateAsync(Tls.OpenSsl, near, Server()).InTime();
        var connected = await connecting.InTime();
        Assert.Equal((Web, Cart), (_client.Identity, _server.Identity));
        var (up, down) = (Octets(seed: 5, 20_000), Octets(seed: 6, 20_000));
        var writing = Task.WhenAll(WriteAsync(connected, up), WriteAsync(accepted, down));
        var reading = Task.WhenAll(ReadAsync(accepted, up.Length), ReadAsync(connected, down.Length));
        var releasing = Task.Run(() =>
        {
            var clock = Stopwatch.StartNew();
            while (!reading.IsCompleted && clock.Elapsed < Eventually.Bound)
            {
                accepted.ReleaseIfIdle();
                connected.ReleaseIfIdle();
            }
        });
        var read = await reading.InTime();
        await Task.WhenAll(writing, releasing).InTime();
        Assert.True(up.SequenceEqual(read[0]));
        Assert.True(down.SequenceEqual(read[1]));
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pumping.InTime());
    }

    private static async Task PumpAsync(Stream from, Stream to, CancellationToken stop)
    {
        var random = new Random(7);
        var buffer = new byte[32];
        while (true)
        {
            var count = await from.ReadAsync(buffer.AsMemory(0, random.Next(1, 9)), stop);
            await to.WriteAsync(buffer.AsMemory(0, count), stop);
            if (random.Next(4) == 0)
            {
                await Task.Yield();
            }
        }
    }

    private async Task<(string Certificate, string Key)> WriteFilesAsync()
    {
        var directory = Directory.CreateTempSubdirectory();
        _open.Add(new Undo(() => directory.Delete(recursive: true)));
        var (certificate, key) = (Path.Combine(directory.FullName, "web.crt"), Path.Combine(directory.FullName, "web.key"));
        await File.WriteAllTextAsync(certificate, _web.Leaf.ExportCertificatePem());
        await File.WriteAllTextAsync(key, _web.Leaf.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem());
        return (certificate, key);
    }

    private async Task<TlsStream> AcceptAsync(TcpListener listener) =>
        await AuthenticateAsync(Tls.OpenSsl, new PolledStream(await listener.AcceptSocketAsync().InTime(), Loops.Shared!.Next()), Server()).InTime();

    private static WorkloadCertificate Under(X509Certificate2 intermediate, SpiffeId identity) => new(
        TestCertificates.Leaf(intermediate, new TestLeaf { Uris = [identity.ToString()] }), X509CertificateLoader.LoadCertificate(intermediate.RawData));

    private static byte[] Octets(int seed, int count)
    {
        var octets = new byte[count];
        new Random(seed).NextBytes(octets);
        return octets;
    }

    // In pieces of all sizes, by both ways of writing.
    private static Task WriteAsync(TlsStream stream, ReadOnlyMemory<byte> octets) => Task.Run(async () =>
    {
        var random = new Random(octets.Length);
        while (!octets.IsEmpty)
        {
            var first = octets[..random.Next(Math.Min(octets.Length, 100_000) + 1)];
            octets = octets[first.Length..];
            var second = octets[..random.Next(Math.Min(octets.Length, 20_000) + 1)];
            octets = octets[second.Length..];
            if (second.Length % 2 == 0)
            {
                await stream.WriteAsync(first, second);
            }
            else
            {
                await stream.WriteAsync(first);
                await stream.WriteAsync(second);
            }
        }
    });

    private static Task<byte[]> ReadAsync(TlsStream stream, int count) => Task.Run(async () =>
    {
        var octets = new byte[count];
        for (var read = 0; read < count;)
        {
            var part = await stream.ReadAsync(octets.AsMemory(read, Math.Min(count - read, 50_000)));
            Assert.NotEqual(0, part);
            read += part;
        }

        return octets;
    });

    private async Task<Exception> RefusalAsync(SslClientAuthenticationOptions options)
    {
        var (near, far) = Transports(Over.EventLoop);
        var connecting = AuthenticateAsync(Tls.SslStream, far, options);
        var refusal = await Assert.ThrowsAsync<AuthenticationException>(() => AuthenticateAsync(Tls.OpenSsl, near, Server()).InTime());
        await ((Task)connecting).InTime().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Assert.Null(_client.Identity);
        return refusal;
    }

    private async Task<byte[]> FirstMessageAsync()
    {
        var (near, far) = Transports(Over.Memory);
        var connecting = AuthenticateAsync(Tls.OpenSsl, far, Client());
        var octets = new byte[16 * 1024];
        var count = await near.ReadAsync(octets).InTime();
        await near.DisposeAsync();
        await Assert.ThrowsAnyAsync<IOException>(() => connecting.InTime());
        return octets[..count];
    }

    private SslServerAuthenticationOptions Server() => SpiffeTls.ServerOptions(_cart, _trust, _client, TimeProvider.System);

    private SslClientAuthenticationOptions Client() => SpiffeTls.ClientOptions(_web, _trust, [Cart], _server, TimeProvider.System);

    private async Task<(TlsStream Server, TlsStream Client)> ConnectAsync(Tls server, Tls client, Over over)
    {
        var (near, far) = Transports(over);
        var connecting = AuthenticateAsync(client, far, Client());
        return (await AuthenticateAsync(server, near, Server()).InTime(), await connecting.InTime());
    }

    private Task<TlsStream> AuthenticateAsync(Tls tls, Stream transport, SslServerAuthenticationOptions options) => OpenAsync(
        tls is Tls.OpenSsl ? OpenSslTlsStream.AuthenticateAsync(transport, TlsParameters.Of(options, _client), default) : SslTlsStream.AuthenticateAsync(transport, options, default));

    private Task<TlsStream> AuthenticateAsync(Tls tls, Stream transport, SslClientAuthenticationOptions options) => OpenAsync(
        tls is Tls.OpenSsl ? OpenSslTlsStream.AuthenticateAsync(transport, TlsParameters.Of(options, _server), default) : SslTlsStream.AuthenticateAsync(transport, options, default));

    private async Task<TlsStream> OpenAsync(Task<TlsStream> authenticating)
    {
        var stream = await authenticating;
        lock (_open)
        {
            _open.Add(stream);
        }

        return stream;
    }

    private (Stream Near, Stream Far) Transports(Over over)
    {
        if (over is Over.Memory)
        {
            var (up, down) = (new Pipe(), new Pipe());
            return (new DuplexStream(up.Reader, down.Writer), new DuplexStream(down.Reader, up.Writer));
        }

        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var far = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        far.Connect(listener.LocalEndpoint);
        var near = listener.AcceptSocket();
        return (Stream(near), Stream(far));

        Stream Stream(Socket socket)
        {
            Stream stream = over is Over.EventLoop ? new PolledStream(socket, Loops.Shared!.Next()) : new SocketStream(socket);
            _open.Add(stream);
            return stream;
        }
    }

    private sealed class Undo(Action action) : IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            action();
            return default;
        }
    }
}
