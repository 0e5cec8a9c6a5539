using System.Net.Security;
using System.Net.Sockets;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Testing;
using Xunit.Abstractions;

namespace Mesh.Hbone.Attacks;

/// <summary>Attackers that never come as far as a request, and those that fall silent later: the clock ends them, and nobody else notices.</summary>
[Collection(AttackGroup.Name)]
public sealed class HandshakeAttackTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);

    [Fact]
    public async Task Many_who_connect_and_say_nothing_are_closed_in_time()
    {
        const int Attackers = 100;
        await using var siege = await Siege.BeginAsync(output, time: _time);
        await siege.RunAsync(0, async height =>
        {
            var sockets = new List<Socket>();
            for (var i = 0; i < Attackers; i++)
            {
                sockets.Add(await DialAsync(siege));
            }

            var ends = sockets.Select(EndAsync).ToArray();
            await height();
            await TurnUntilAsync(siege, Task.WhenAll(ends));
            sockets.ForEach(socket => socket.Dispose());
        });
        Assert.All(siege.Failures, failure => Assert.Equal("the handshake was not complete within 00:00:10", failure.Reason));
    }

    [Fact]
    public async Task Many_who_say_one_octet_of_their_handshake_at_a_time_are_closed_in_time()
    {
        const int Attackers = 20;
        await using var siege = await Siege.BeginAsync(output, time: _time);
        var hello = await ClientHelloAsync(siege);
        await siege.RunAsync(0, async height =>
        {
            var sockets = new List<Socket>();
            for (var i = 0; i < Attackers; i++)
            {
                sockets.Add(await DialAsync(siege));
            }

            var ends = Task.WhenAll(sockets.Select(EndAsync));
            await TurnUntilAsync(siege, ends, async turn =>
            {
                foreach (var socket in sockets)
                {
                    await TrySendAsync(socket, hello.AsMemory(turn % hello.Length, 1));
                }
            });
            await height();
            sockets.ForEach(socket => socket.Dispose());
        });
        Assert.All(siege.Failures, failure => Assert.Equal("the handshake was not complete within 00:00:10", failure.Reason));
    }

    [Theory]
    [InlineData("nothing")]
    [InlineData("the preface, one octet at a time")]
    [InlineData("the preface without SETTINGS")]
    [InlineData("a part of SETTINGS, one octet at a time")]
    public async Task Who_is_slow_behind_the_handshake_of_TLS_is_closed_in_the_same_time(string says)
    {
        var (head, tail) = says switch
        {
            "nothing" => (Array.Empty<byte>(), Array.Empty<byte>()),
            "the preface, one octet at a time" => ([], Http2Peer.Preface),
            "the preface without SETTINGS" => (Http2Peer.Preface, []),
            _ => (Http2Peer.Preface, Frame.Settings((Http2Setting.InitialWindowSize, 1u), (Http2Setting.InitialWindowSize, 1u))),
        };
        await using var siege = await Siege.BeginAsync(output, time: _time);
        await siege.RunAsync(0, async height =>
        {
            await using var attacker = await siege.ConnectAsync();
            await attacker.WriteAsync(head);
            var began = _time.GetUtcNow();
            await TurnUntilAsync(siege, attacker.ExpectEndAsync(), async turn =>
            {
                if (turn < tail.Length)
                {
                    await TryWriteAsync(attacker, tail[turn]);
                }
            });
            await height();

            // Ten seconds for the handshake, two for the GOAWAY to be heard, and what the steps of the clock add.
            Assert.InRange(_time.GetUtcNow() - began, TimeSpan.FromSeconds(8), TimeSpan.FromSeconds(16));
        });
    }

    [Fact]
    public async Task While_the_handshakes_are_at_their_limit_further_ones_are_closed_as_they_come_and_the_established_go_on()
    {
        const int Limit = 20;
        await using var siege = await Siege.BeginAsync(output, time: _time, maxHandshakes: Limit);
        var holders = new List<Socket>();
        for (var i = 0; i < Limit; i++)
        {
            holders.Add(await DialAsync(siege));
        }

        // The listener takes them one after the other, so this one comes behind them.
        var ends = Task.WhenAll(holders.Select(EndAsync));
        using (var further = await DialAsync(siege, mayFail: true))
        {
            await EndAsync(further).InTime();
        }

        Assert.Contains(siege.Failures, failure => failure.Reason.EndsWith($"{Limit} other connections are in their handshake, the limit", StringComparison.Ordinal));
        await siege.ProgressAsync();

        await TurnUntilAsync(siege, ends);
        holders.ForEach(socket => socket.Dispose());
        await Eventually.Until("there is room again", () => siege.Failures.Count > Limit);
        await using var tunnel = await new HboneClient(siege.Certificates).ConnectAsync(new HboneDestination(Siege.Web, [Siege.Cart], siege.EndPoint), "a:1").InTime();
        await tunnel.Output.SayAsync("in");
        Assert.Equal("in", await tunnel.Input.HearAsync().InTime());
    }

    [Fact]
    public async Task A_peer_that_is_gone_without_a_word_is_given_up_by_its_silence()
    {
        await using var siege = await Siege.BeginAsync(output, time: _time);
        await siege.RunAsync(Siege.Mebi, async height =>
        {
            await using var attacker = await siege.ConnectHttp2Async();
            await attacker.WriteAsync(Frame.Connect(1));
            await attacker.ExpectAsync(frame => frame.Type is FrameType.Headers);
            await height();
            var began = _time.GetUtcNow();
            await TurnUntilAsync(siege, attacker.ExpectEndAsync());

            // Ten seconds of silence, twenty more behind the PING, looked at every two and a half.
            Assert.InRange(_time.GetUtcNow() - began, TimeSpan.FromSeconds(28), TimeSpan.FromSeconds(42));
        });
    }

    // A second at a time, and between them the well-behaved one says something, so that his is not the silence that is noticed.
    private async Task TurnUntilAsync(Siege siege, Task end, Func<int, Task>? each = null)
    {
        for (var turn = 0; !end.IsCompleted; turn++)
        {
            Assert.True(turn < 100, "not within a hundred seconds of its clock");
            if (each is not null)
            {
                await each(turn);
            }

            _time.Advance(Second);
            await siege.ProgressAsync(2);
        }

        await end;
    }

    private static async Task<Socket> DialAsync(Siege siege, bool mayFail = false)
    {
        var socket = new Socket(siege.EndPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(siege.EndPoint).InTime();
        }
        catch (SocketException) when (mayFail)
        {
            // Closed as it came.
        }

        return socket;
    }

    // Orderly or not.
    private static async Task EndAsync(Socket socket)
    {
        try
        {
            while (await socket.ReceiveAsync(new byte[1024]) > 0)
            {
                // An alert of TLS, perhaps.
            }
        }
        catch (SocketException)
        {
            // Reset.
        }
    }

    private static async Task TrySendAsync(Socket socket, ReadOnlyMemory<byte> octets)
    {
        try
        {
            await socket.SendAsync(octets);
        }
        catch (SocketException)
        {
            // It is closed already.
        }
    }

    private static async Task TryWriteAsync(RawPeer peer, byte octet)
    {
        try
        {
            await peer.WriteAsync(octet);
        }
        catch (IOException)
        {
            // It is closed already.
        }
    }

    // The first flight of a good handshake.
    private static async Task<byte[]> ClientHelloAsync(Siege siege)
    {
        var (near, far) = Wire.Make();
        using var stop = new CancellationTokenSource();
        await using var tls = new SslStream(near);
        var certificate = await siege.Certificates.GetAsync(Siege.Mallory);
        var handshake = tls.AuthenticateAsClientAsync(
            SpiffeTls.ClientOptions(certificate, siege.Trust, [Siege.Cart], new PeerVerification(), TimeProvider.System), stop.Token);
        var hello = new byte[16 * 1024];
        var length = await far.ReadAsync(hello).InTime();
        await far.DisposeAsync();
        await handshake.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return hello[..length];
    }
}
