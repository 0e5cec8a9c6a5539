using Mesh.Hbone.Http2;
using Mesh.Testing;

namespace Mesh.Hbone.Attacks;

/// <summary>What becomes of the streams of an attacker: applications learn of their end, whatever ends them.</summary>
public sealed class HostileStreamTests
{
    /// <summary>OnRstStream takes the stream out, then charges, which may throw, and only then ends its input; Finish finds it nowhere.</summary>
    [KnownHoleFact]
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
}
