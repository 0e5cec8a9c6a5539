using System.Net;
using System.Net.Sockets;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Testing;
using Xunit.Abstractions;
using static Mesh.Hbone.Http2.FrameFlags;

namespace Mesh.Hbone.Attacks;

/// <summary>A server with a valid certificate against a client of ours: the client cuts it off, in bounded memory, and its tunnels to others go on.</summary>
[Collection(AttackGroup.Name)]
public sealed class ClientAttackTests(ITestOutputHelper output)
{
    private const int Many = 20_000;
    private const int WaveSize = 16 * 1024;
    private static readonly byte[] Ok = Frame.Headers(1, EndHeaders, (":status", "200"));

    /// <summary>What answers the request, what is repeated then, and the code that ends it. Stream 1 is a tunnel, or still a request, of which nobody reads.</summary>
    private sealed record Attack(byte[] Repeated, Http2ErrorCode End)
    {
        public byte[] Answer { get; init; } = Ok;

        public bool Reads { get; init; } = true;

        public int Count { get; init; } = Many;

        public IEnumerable<byte[]> Waves()
        {
            yield return Answer;
            var inWave = Math.Clamp(WaveSize / Repeated.Length, 1, Count);
            byte[] wave = [.. Enumerable.Repeat(Repeated, inWave).SelectMany(octets => octets)];
            for (var sent = 0; sent < Count; sent += inWave)
            {
                yield return wave;
            }
        }
    }

    private static readonly Dictionary<string, Attack> Attacks = new()
    {
        ["SETTINGS"] = Calm(Frame.Settings()),
        ["SETTINGS that move the windows"] = Calm([.. Frame.Setting(Http2Setting.InitialWindowSize, 0), .. Frame.Setting(Http2Setting.InitialWindowSize, 100_000)]),
        ["SETTINGS, the answers not read"] = Calm(Frame.Settings()) with { Reads = false },
        ["SETTINGS that allow us to push"] = new(Frame.Setting(Http2Setting.EnablePush, 1), Http2ErrorCode.ProtocolError) { Count = 1 },
        ["PING"] = Calm(Frame.Of(FrameType.Ping, None, 0, new byte[8])),
        ["PING, the answers not read"] = Calm(Frame.Of(FrameType.Ping, None, 0, new byte[8])) with { Reads = false },
        ["PRIORITY"] = Calm(Frame.Of(FrameType.Priority, None, 1, new byte[5])),
        ["frames of unknown type"] = Calm(Frame.Of((FrameType)0x40, None, 0, new byte[10])),
        ["1xx responses"] = Calm(Frame.Headers(1, EndHeaders, (":status", "103"), ("x-a", "b"))) with { Answer = [] },
        ["CONTINUATION without end"] = Calm(Frame.Of(FrameType.Continuation, None, 1, new byte[1_000])) with { Answer = Frame.Of(FrameType.Headers, None, 1, 0x88) },
        ["CONTINUATION of one octet"] = Calm(Frame.Of(FrameType.Continuation, None, 1, 0x88)) with { Answer = Frame.Of(FrameType.Headers, None, 1, 0x88), Count = 50_000 },
        ["CONTINUATION of nothing"] = Calm(Frame.Of(FrameType.Continuation, None, 1)) with { Answer = Frame.Of(FrameType.Headers, None, 1, 0x88) },
        ["DATA of nothing"] = Calm(Frame.Of(FrameType.Data, None, 1)),
        ["WINDOW_UPDATE by 1 of the connection"] = Calm(Frame.Number32(FrameType.WindowUpdate, 0, 1)),
        ["WINDOW_UPDATE by 1 of a stream"] = Calm(Frame.Number32(FrameType.WindowUpdate, 1, 1)),
        ["RST_STREAM for a stream that has ended"] = Calm(Frame.Number32(FrameType.RstStream, 1, 0)),
        ["more DATA than the window of a stream"] = new(Frame.Of(FrameType.Data, None, 1, new byte[WaveSize]), Http2ErrorCode.FlowControlError) { Count = 1_000 },
        ["WINDOW_UPDATE of the connection by too much"] = new(Frame.Number32(FrameType.WindowUpdate, 0, int.MaxValue), Http2ErrorCode.FlowControlError) { Count = 1 },
        ["PUSH_PROMISE"] = new(Frame.Of(FrameType.PushPromise, EndHeaders, 1, 0, 0, 0, 2, 0x88), Http2ErrorCode.ProtocolError) { Count = 1 },
        ["a stream of the server's"] = new(Frame.Headers(2, EndHeaders, (":status", "200")), Http2ErrorCode.ProtocolError) { Count = 1 },
        ["a frame larger than allowed"] = new([0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1], Http2ErrorCode.FrameSizeError) { Count = 1 },
        ["a header block over the limit"] = new([0x01, 0, 0, 1, 4, 0, 0, 0, 1], Http2ErrorCode.EnhanceYourCalm) { Answer = [], Count = 1 },
        ["HPACK: an index that is in no table"] = new(Frame.Of(FrameType.Headers, EndHeaders, 1, 0xFF, 0x80, 0x01), Http2ErrorCode.CompressionError) { Answer = [], Count = 1 },
    };

    // Cut off they should be, and are not.
    private static readonly Dictionary<string, Attack> Borne = new()
    {
        // OnGoAway charges nothing; each makes a list, walks all streams, and writes a line to the log.
        ["GOAWAY"] = Calm(Frame.GoAway(int.MaxValue, Http2ErrorCode.NoError)),

        // OnSettings returns for ACK before it charges.
        ["SETTINGS acknowledgements that nobody asked for"] = Calm(Frame.Of(FrameType.Settings, Ack, 0)),

        // OnHeaderBlock decodes what is for a stream that has ended, up to 20 KiB each, and charges for it on a server only.
        ["HEADERS for a stream that has ended"] = Calm(Frame.Headers(1, EndHeaders | EndStream, ("x-a", "b"))) with { Answer = [.. Ok, .. Frame.Number32(FrameType.RstStream, 1, 0)] },
        ["DATA of nothing but a pad length"] = Calm(Frame.Of(FrameType.Data, Padded, 1, 0)),
        ["DATA of one octet for a stream that has ended"] = Calm(Frame.Of(FrameType.Data, None, 1, 0)) with { Answer = [.. Ok, .. Frame.Number32(FrameType.RstStream, 1, 0)] },
    };

    public static TheoryData<string> Names => [.. Attacks.Keys];

    public static TheoryData<string> NamesOfBorne => [.. Borne.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public Task A_hostile_server_is_cut_off_and_other_tunnels_go_on(string name) => CheckAsync(Attacks[name]);

    [Theory]
    [MemberData(nameof(NamesOfBorne))]
    public Task A_hostile_server_whose_flood_costs_nothing_is_cut_off(string name) => CheckAsync(Borne[name]);

    /// <summary>A server of ours with the same identity stands beside the hostile one, and the pool has tunnels to both.</summary>
    private async Task CheckAsync(Attack attack)
    {
        await using var siege = await Siege.BeginAsync(output);
        await using var pool = new HbonePool(new HboneClient(siege.Certificates));
        await using var honest = await pool.ConnectAsync(new HboneDestination(Siege.Web, [Siege.Cart], siege.EndPoint), "a:1").InTime();
        await ExchangeAsync(honest);

        // What a tunnel that nobody reads holds is the window of its stream.
        await siege.RunAsync(3 * 4 * Siege.Mebi, async height =>
        {
            using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            listener.Listen();
            var connecting = ConnectAsync(pool, (IPEndPoint)listener.LocalEndPoint!);
            await using var hostile = await RawPeer.AcceptAsync(await listener.AcceptAsync().InTime(), await siege.Certificates.GetAsync(Siege.Cart), siege.Trust);
            await hostile.ReadExactlyAsync(Http2Peer.Preface.Length);
            await hostile.WriteAsync(Frame.Settings());
            await hostile.ExpectAsync(frame => frame.Type is FrameType.Headers);

            var outcome = await hostile.AttackAsync(attack.Waves(), attack.Reads);
            siege.Say(outcome.ToString());
            Assert.False(outcome.Borne, outcome.ToString());
            if (attack.Reads || outcome.GoAway is not null)
            {
                Assert.Equal(attack.End, outcome.GoAway);
            }

            await height();
            await hostile.DisposeAsync();
            var failure = await connecting.InTime();
            if (failure is not null)
            {
                Assert.Equal(attack.End, failure.Code);
            }

            await ExchangeAsync(honest);
        });
    }

    private static Attack Calm(byte[] repeated) => new(repeated, Http2ErrorCode.EnhanceYourCalm);

    // Opens a tunnel and waits for its end, reading nothing before that. Null when the tunnel ended well before the connection ended badly.
    private static async Task<HboneException?> ConnectAsync(HbonePool pool, IPEndPoint hostile)
    {
        try
        {
            await using var tunnel = await pool.ConnectAsync(new HboneDestination(Siege.Web, [Siege.Cart], hostile), "a:1");
            while (true)
            {
                var result = await tunnel.Input.ReadAsync();
                tunnel.Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);
                if (result.IsCompleted)
                {
                    return null;
                }
            }
        }
        catch (HboneException e)
        {
            return e;
        }
    }

    private static async Task ExchangeAsync(HboneTunnel tunnel)
    {
        await tunnel.Output.SayAsync("well?", complete: false);
        var result = await tunnel.Input.ReadAtLeastAsync(5).InTime();
        Assert.Equal("well?"u8, System.Buffers.BuffersExtensions.ToArray(result.Buffer));
        tunnel.Input.AdvanceTo(result.Buffer.End);
    }
}
