using Mesh.Hbone.Http2;
using Xunit.Abstractions;
using static Mesh.Hbone.Http2.FrameFlags;

namespace Mesh.Hbone.Attacks;

/// <summary>Attackers that break no rule and make a listener hold as much as they can, for as long as they can.</summary>
[Collection(AttackGroup.Name)]
public sealed class ServerHoldingTests(ITestOutputHelper output)
{
    private const int Streams = 200;
    private const int FrameSize = 16 * 1024;
    private const int ConnectionWindow = 16 * 1024 * 1024;

    // What an application may have written and not sent: StreamOutput pauses it here, and one more write fits above. With room for its header a piece of
    // 16 KiB is one of 32.
    private const long OutputOfStream = 2 * (256 + 64) * 1024;
    private const uint Wide = int.MaxValue;

    [Fact]
    public async Task A_peer_that_never_opens_its_windows_holds_what_the_streams_may_hold_and_no_more()
    {
        await using var siege = await Siege.BeginAsync(output);
        await siege.RunAsync((Streams * OutputOfStream) + (2 * ConnectionWindow), async height =>
        {
            await using var attacker = await siege.ConnectHttp2Async((Http2Setting.InitialWindowSize, 0));
            await attacker.WriteAsync(Open(Streams, "a:1"));
            siege.Say($"{await SendAllCreditAsync(attacker)} octets sent");
            await height();
        });
    }

    [Fact]
    public async Task A_peer_that_never_reads_what_is_echoed_holds_what_the_streams_may_hold_and_no_more()
    {
        await using var siege = await Siege.BeginAsync(output);
        await siege.RunAsync((Streams * OutputOfStream) + (2 * ConnectionWindow), async height =>
        {
            await using var attacker = await siege.ConnectHttp2Async((Http2Setting.InitialWindowSize, Wide));
            await attacker.WriteAsync([.. WindowUpdate(0, Wide - FlowWindow.Default), .. Open(Streams, "a:1")]);
            for (var i = 0; i < ConnectionWindow / FrameSize; i++)
            {
                await attacker.WriteAsync(Frame.Of(FrameType.Data, None, Id(i % Streams), new byte[FrameSize]));
            }

            await height();
        });
    }

    [Fact]
    public async Task Streams_that_the_application_has_not_decided_on_hold_their_headers_and_one_window()
    {
        await using var siege = await Siege.BeginAsync(output, accepts: _ => false);

        // Headers are text here: two octets for each.
        await siege.RunAsync((Streams * 2L * 64 * 1024) + (3L * ConnectionWindow), async height =>
        {
            await using var attacker = await siege.ConnectHttp2Async();
            for (var i = 0; i < Streams; i++)
            {
                await attacker.WriteAsync(Large(Id(i)));
            }

            siege.Say($"{await SendAllCreditAsync(attacker)} octets sent");
            await attacker.WriteAsync(Large(Id(Streams)));
            var refusal = await attacker.ExpectAsync(frame => frame.Type is FrameType.RstStream);
            Assert.Equal((Id(Streams), Http2ErrorCode.RefusedStream), (refusal.StreamId, refusal.Code));
            await height();
            while (siege.Undecided.TryDequeue(out var request))
            {
                request.Dispose();
            }
        });
    }

    [Fact]
    public async Task Streams_that_the_application_does_not_accept_are_refused_over_the_limit_and_then_the_connection_is()
    {
        await using var siege = await Siege.BeginAsync(output);
        siege.StopAccepting();
        var rounds = 0;
        await siege.RunAsync(2 * 1024 * 1024, async height =>
        {
            await using var attacker = await siege.ConnectHttp2Async();
            await attacker.WriteAsync(Open(Streams, "a:1"));
            await attacker.PingPongAsync();
            var outcome = await attacker.AttackAsync(Enumerable.Range(Streams, 2_000).Select(i => Frame.Connect(Id(i))));
            Assert.Equal(Http2ErrorCode.EnhanceYourCalm, outcome.GoAway);
            Assert.InRange(outcome.Resets(Http2ErrorCode.RefusedStream), 1, 1_000);
            await height();
            rounds++;
        });
        Assert.InRange(rounds, 3, 100);
    }

    [Fact]
    public async Task Requests_of_connections_that_are_gone_are_not_kept_for_an_application_that_accepts_late()
    {
        await using var siege = await Siege.BeginAsync(output);
        siege.StopAccepting();
        await siege.RunAsync(2 * ConnectionWindow, async _ =>
        {
            for (var connections = 0; connections < 4; connections++)
            {
                await using var attacker = await siege.ConnectHttp2Async();
                await attacker.WriteAsync(Open(Streams, "a:1"));
                await SendAllCreditAsync(attacker);
            }
        });
    }

    [Fact]
    public async Task Pieces_that_keep_the_whole_buffer_they_lie_in_cost_a_few_times_the_window()
    {
        // StreamInput keeps pieces from 12 KiB in place; a buffer has 64.
        await using var siege = await Siege.BeginAsync(output, accepts: _ => false);
        await siege.RunAsync(6L * ConnectionWindow, height => HoldPiecesAsync(siege, height, filler: Frame.Of((FrameType)0x77, None, 0, new byte[52 * 1024])));
    }

    [Fact]
    public async Task A_connection_does_not_remember_the_size_of_its_largest_header_block()
    {
        const int Connections = 200;
        await using var siege = await Siege.BeginAsync(output);
        var attackers = new List<RawPeer>();
        for (var i = 0; i < Connections; i++)
        {
            attackers.Add(await siege.ConnectHttp2Async());
        }

        var before = MemoryUse.Now();
        foreach (var attacker in attackers)
        {
            await attacker.WriteAsync([.. Frame.Connect(1, EndStream), .. Frame.Number32(FrameType.RstStream, 1, 0), .. LargeTrailers(1)]);
            await attacker.PingPongAsync();
        }

        await siege.ProgressAsync();
        var each = (MemoryUse.Now() - before).Managed / Connections;
        output.WriteLine($"{each} octets for each connection");
        foreach (var attacker in attackers)
        {
            await attacker.DisposeAsync();
        }

        Assert.InRange(each, long.MinValue, 48 * 1024);
    }

    // Sixteen mebioctets in pieces of 14 KiB, and something that fills the rest of a buffer and is not kept before each.
    private static async Task HoldPiecesAsync(Siege siege, Func<Task> height, byte[] filler)
    {
        const int Piece = 14 * 1024;
        await using var attacker = await siege.ConnectHttp2Async();
        const int Holders = 8;
        await attacker.WriteAsync(Open(Holders, "a:1"));
        for (var sent = 0; sent + Piece <= ConnectionWindow; sent += Piece)
        {
            await attacker.WriteAsync(filler);
            await attacker.WriteAsync(Frame.Of(FrameType.Data, None, Id(sent / Piece % Holders), new byte[Piece]));
        }

        await attacker.PingPongAsync();
        await height();
        while (siege.Undecided.TryDequeue(out var request))
        {
            request.Dispose();
        }
    }

    // DATA in turn on all streams, as long as the connection gives credit for it.
    private static async Task<long> SendAllCreditAsync(RawPeer attacker)
    {
        var (credit, sent, dry) = ((long)ConnectionWindow, 0L, 0);
        while (dry < 3)
        {
            for (; credit >= FrameSize; credit -= FrameSize, sent += FrameSize)
            {
                await attacker.WriteAsync(Frame.Of(FrameType.Data, None, Id((int)(sent / FrameSize % Streams)), new byte[FrameSize]));
            }

            dry++;
            var opaque = Guid.NewGuid().ToByteArray()[..8];
            await attacker.WriteAsync(Frame.Of(FrameType.Ping, None, 0, opaque));
            await attacker.ExpectAsync(frame =>
            {
                if (frame.Type is FrameType.WindowUpdate && frame.StreamId == 0)
                {
                    credit += frame.Number;
                    dry = 0;
                }

                return frame.Type is FrameType.Ping && frame.Payload.AsSpan().SequenceEqual(opaque);
            });
        }

        return sent;
    }

    private static int Id(int number) => (2 * number) + 1;

    private static byte[] WindowUpdate(int stream, uint increment) => Frame.Number32(FrameType.WindowUpdate, stream, increment);

    private static byte[] Open(int streams, string authority) =>
        [.. Enumerable.Range(0, streams).SelectMany(i => Frame.Headers(Id(i), EndHeaders, (":method", "CONNECT"), (":authority", authority)))];

    private static byte[] Large(int stream) => Frame.Headers(stream, EndHeaders, (":method", "CONNECT"), (":authority", "a:1"), ("x-large", new string('~', 65_000)));

    private static byte[] LargeTrailers(int stream) => Frame.Headers(stream, EndHeaders | EndStream, ("x-large", new string('~', 65_400)));
}
