using System.Text;
using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Hbone.Http2;

/// <summary>Both ends of ours against octets that nobody would send: they always come to an end, and always for a reason of the protocol.</summary>
public sealed class Http2Fuzz
{
    private static readonly int Rounds = Fuzz.Rounds(400);

    [Theory]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    [InlineData(false, 3)]
    [InlineData(false, 4)]
    public async Task Hostile_frames_end_a_connection_but_never_hang_or_break_it(bool isServer, int seed)
    {
        seed = Fuzz.Seed(seed);
        var random = new Random(seed);
        for (var round = 0; round < Rounds; round++)
        {
            var octets = Session(random, isServer);
            var failure = await RunAsync(octets, isServer).WaitAsync(Eventually.Bound);
            Assert.True(
                failure.Error is HboneError.ConnectionLost or HboneError.ProtocolError or HboneError.Unprocessed && failure.InnerException is null or IOException or ObjectDisposedException or OperationCanceledException,
                $"seed {seed}, round {round}: {failure}");
        }
    }

    private static async Task<HboneException> RunAsync(byte[] octets, bool isServer)
    {
        var (peer, ours) = Wire.Make();
        await using var connection = new Http2Connection(ours, isServer, Http2Peer.SmallOptions(), TimeProvider.System, NullLogger.Instance, Serve);
        connection.Start();
        if (!isServer)
        {
            _ = connection.OpenStream([new HeaderField(":method", "CONNECT"), new HeaderField(":authority", "a:1")], 10);
        }

        var reading = DrainAsync(peer);
        try
        {
            for (var at = 0; at < octets.Length; at += 1000)
            {
                await peer.WriteAsync(octets.AsMemory(at, Math.Min(1000, octets.Length - at)));
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // It has had enough already.
        }

        // What was sent is still to be read; a PING cannot ask, for the connection may be within a frame. The end of the octets says the same.
        await peer.DisposeAsync();
        await connection.Closed;
        await reading;
        return connection.Failure!;
    }

    private static void Serve(Http2Stream stream)
    {
        stream.Connection.Respond(stream, [new HeaderField(":status", "200")], endStream: false);
        _ = Task.Run(async () =>
        {
            try
            {
                await stream.Input.SumAsync();
            }
            catch (HboneException)
            {
                // Reset or lost, as it may be.
            }

            stream.Release();
        });
    }

    private static async Task DrainAsync(Stream stream)
    {
        var buffer = new byte[4096];
        try
        {
            while (await stream.ReadAsync(buffer) > 0)
            {
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // The end.
        }
    }

    // Mostly well-formed frames in any order, some of them damaged.
    private static byte[] Session(Random random, bool toServer)
    {
        var session = new MemoryStream();
        if (toServer)
        {
            session.Write(Http2Peer.Preface);
        }

        session.Write(Frame.Settings());
        for (var frames = random.Next(1, 40); frames > 0; frames--)
        {
            var stream = random.Next(8) == 0 ? random.Next() : random.Next(0, 9);
            var frame = random.Next(12) switch
            {
                0 => Frame.Connect(stream),
                1 => toServer ? Frame.Connect(stream, FrameFlags.EndStream) : Frame.Headers(stream, FrameFlags.EndHeaders, (":status", "200")),
                2 => Frame.Of(FrameType.Data, (FrameFlags)random.Next(16), stream, new byte[random.Next(2000)]),
                3 => Frame.Number32(FrameType.WindowUpdate, stream, (uint)random.Next(100_000)),
                4 => Frame.Number32(FrameType.RstStream, stream, (uint)random.Next(16)),
                5 => Frame.Setting((Http2Setting)random.Next(10), (uint)random.Next(100_000)),
                6 => Frame.Of(FrameType.Ping, (FrameFlags)random.Next(2), 0, new byte[8]),
                7 => Frame.GoAway(random.Next(10), (Http2ErrorCode)random.Next(16)),
                8 => Frame.Of(FrameType.Continuation, FrameFlags.EndHeaders, stream, new byte[random.Next(10)]),
                9 => Frame.Of(FrameType.Headers, (FrameFlags)random.Next(256), stream, Encoding.Latin1.GetBytes(new string((char)random.Next(256), random.Next(100)))),
                10 => Frame.Of((FrameType)random.Next(256), (FrameFlags)random.Next(256), stream, new byte[random.Next(300)]),
                _ => Noise(random),
            };
            if (random.Next(10) == 0 && frame.Length > 0)
            {
                frame[random.Next(frame.Length)] = (byte)random.Next(256);
            }

            session.Write(frame);
        }

        return session.ToArray();
    }

    private static byte[] Noise(Random random)
    {
        var noise = new byte[random.Next(50)];
        random.NextBytes(noise);
        return noise;
    }
}
