using Mesh.Hbone.Http2;
using Mesh.Testing;
using Xunit.Abstractions;

namespace Mesh.Hbone.Attacks;

/// <summary>What becomes of the streams of an attacker: applications learn of their end, whatever ends them.</summary>
[Collection(AttackGroup.Name)]
public sealed class HostileStreamTests(ITestOutputHelper output)
{
    [Fact]
    public async Task The_stream_whose_reset_exhausts_the_budget_ends_for_its_application_too()
    {
        var options = Http2Peer.SmallOptions();
        options.MaxConcurrentStreams = 1_000;
        await using var peer = await Http2Peer.ClientAsync(options);
        for (var id = 1; id < 1_000; id += 2)
        {
            await peer.SendAsync([.. Frame.Connect(id), .. Frame.Number32(FrameType.RstStream, id, (uint)Http2ErrorCode.Cancel)]);
        }

        await peer.ExpectGoAwayAsync(Http2ErrorCode.EnhanceYourCalm);

        while (peer.Requests.Reader.TryRead(out var stream))
        {
            var ended = stream.Input.SumAsync();
            Assert.True(ended.IsCompleted, $"stream {stream.Id} never ends for its application");
            stream.Release();
        }
    }

    /// <summary>
    /// An answer that is written behind the shutdown of TLS fails, and a failed write cuts the connection: what the peer has still on its way then makes a
    /// reset, and the GOAWAY is lost with it. So nothing is written there.
    /// </summary>
    [Fact]
    public async Task An_application_that_answers_behind_the_GOAWAY_does_not_cut_the_connection()
    {
        // The clock stands still, so that the moment of grace behind the GOAWAY does not end.
        await using var siege = await Siege.BeginAsync(output, accepts: _ => false, time: new FakeTimeProvider(DateTimeOffset.UtcNow));
        await using var attacker = await siege.ConnectHttp2Async();
        await attacker.WriteAsync([.. Frame.Connect(1), .. Frame.Of(FrameType.Ping, FrameFlags.None, 1, new byte[8])]);
        await attacker.ExpectAsync(frame => frame.Type is FrameType.GoAway);
        await attacker.ExpectEndAsync();

        // Nobody has cut it yet.
        await WriteAsync();
        await Eventually.Until("the request is there", () => siege.Undecided.TryDequeue(out var request) && request.Accept() is not null);
        await WriteAsync();

        async Task WriteAsync()
        {
            for (var i = 0; i < 20; i++)
            {
                await siege.ProgressAsync(1);
                await attacker.WriteAsync(1, 2, 3);
            }
        }
    }
}
