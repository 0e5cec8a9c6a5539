using Mesh.Hbone.Http2;
using Mesh.Testing;

namespace Mesh.Hbone.Conformance;

/// <summary>What has to come of what the peer sends.</summary>
internal abstract class Reaction
{
    /// <summary>GOAWAY with this code and the last stream that the application was given, then the end of the connection.</summary>
    /// <param name="code">The code.</param>
    /// <param name="lastStream">The last stream, when the case itself opens one.</param>
    public static Reaction ConnectionError(Http2ErrorCode code, int? lastStream = null) => new Script((stage, send) => CheckConnectionErrorAsync(stage, send, code, lastStream));

    /// <summary>RST_STREAM with this code; the connection lives and another stream works.</summary>
    public static Reaction StreamError(int stream, Http2ErrorCode code) => new Script((stage, send) => CheckStreamErrorAsync(stage, send, stream, code));

    /// <summary>No answer; the connection lives, stream 1 goes on where it was, and another stream works.</summary>
    public static Reaction Ignored { get; } = new Script(CheckIgnoredAsync);

    /// <summary>This frame, to the octet; the connection lives and another stream works.</summary>
    public static Reaction Answered(byte[] frame) => new Script((stage, send) => CheckAnsweredAsync(stage, send, frame));

    /// <summary>The request, or the response, is handed to the application with these fields; the connection lives.</summary>
    public static Reaction HandedOut(int stream, params IEnumerable<(string Name, string Value)> fields) =>
        new Script((stage, send) => CheckHandedOutAsync(stage, send, stream, [.. fields]));

    /// <summary>A story of its own.</summary>
    public static Reaction Story(Func<Stage, Task> story) => new Script(async (stage, send) =>
    {
        await SendAsync(stage, send);
        await story(stage);
    });

    public abstract Task CheckAsync(Stage stage, byte[]? send);

    private static Task SendAsync(Stage stage, byte[]? send) => send is null ? Task.CompletedTask : stage.Peer.SendAsync(send);

    private static async Task CheckConnectionErrorAsync(Stage stage, byte[]? send, Http2ErrorCode code, int? lastStream)
    {
        var handedOut = stage.Peer.Requests.Reader.Count;
        await SendAsync(stage, send);
        var goAway = await stage.Peer.ExpectAsync(FrameType.GoAway, 0);
        Assert.Equal((code, lastStream ?? stage.LastStreamId), (goAway.Code, goAway.Number));
        await stage.Peer.ExpectEndAsync();
        Assert.Equal((HboneError.ProtocolError, code), (stage.Peer.Connection.Failure!.Error, stage.Peer.Connection.Failure.Code!.Value));
        if (lastStream is null)
        {
            Assert.Equal(handedOut, stage.Peer.Requests.Reader.Count);
        }

        if (stage.Given is Given.Tunnel or Given.WeEnded)
        {
            var failure = await Assert.ThrowsAsync<HboneException>(() => stage.Stream!.Input.SumAsync().InTime());
            Assert.Equal((HboneError.ProtocolError, code), (failure.Error, failure.Code!.Value));
        }
    }

    private static async Task CheckStreamErrorAsync(Stage stage, byte[]? send, int stream, Http2ErrorCode code)
    {
        await SendAsync(stage, send);
        await ExpectResetAsync(stage.Peer, stream, code);
        if (stream == 1 && stage.Stream is { } ours)
        {
            var failure = await Assert.ThrowsAsync<HboneException>(() => ours.Input.SumAsync().InTime());
            Assert.Equal((HboneError.ProtocolError, code), (failure.Error, failure.Code!.Value));
        }
        else
        {
            Assert.Equal(0, stage.Peer.Requests.Reader.Count);
        }

        await stage.LivesAsync();
    }

    // When the second PING is answered and no reset has come, none will; a test that fails need not wait longer than that.
    private static async Task ExpectResetAsync(Http2Peer peer, int stream, Http2ErrorCode code)
    {
        Frame? reset = null;
        for (var pings = 0; pings < 2; pings++)
        {
            await peer.SendAsync(FrameType.Ping, FrameFlags.None, 0, new byte[8]);
            for (var frame = await peer.NextAsync(); frame.Type is not FrameType.Ping; frame = await peer.NextAsync())
            {
                Assert.True(frame.Type is FrameType.RstStream or FrameType.WindowUpdate or FrameType.Settings, $"expected RST_STREAM on stream {stream}, got {frame}");
                reset = frame.Type is FrameType.RstStream ? frame : reset;
            }
        }

        Assert.True(reset is not null, $"expected RST_STREAM on stream {stream}, got nothing");
        Assert.Equal((stream, code), (reset.StreamId, reset.Code));
    }

    private static async Task CheckIgnoredAsync(Stage stage, byte[]? send)
    {
        await SendAsync(stage, send);
        await stage.LivesAsync();
        switch (stage.Given)
        {
            case Given.Requested:
                await stage.AcceptAsync(stage.Stream!);
                await stage.UseAsync(stage.Stream!);
                break;
            case Given.Tunnel:
                await stage.UseAsync(stage.Stream!);
                break;
            case Given.PeerEnded:
                await stage.Stream!.Output.SayAsync("still from us");
                await stage.ExpectEndAsync(1, "still from us");
                break;
            case Given.WeEnded:
                await stage.Peer.SendAsync(FrameType.Data, FrameFlags.EndStream, 1, "still to us"u8.ToArray());
                Assert.Equal("still to us", await stage.Stream!.Input.HearAsync().InTime());
                break;
        }
    }

    private static async Task CheckAnsweredAsync(Stage stage, byte[]? send, byte[] frame)
    {
        await SendAsync(stage, send);
        var header = FrameHeader.Read(frame);
        var answer = await stage.Peer.ExpectAsync(header.Type, header.StreamId);
        Assert.Equal(Convert.ToHexStringLower(frame), Convert.ToHexStringLower(Frame.Of(answer.Type, answer.Header.Flags, answer.StreamId, answer.Payload)));
        await stage.LivesAsync();
    }

    private static async Task CheckHandedOutAsync(Stage stage, byte[]? send, int stream, (string, string)[] fields)
    {
        await SendAsync(stage, send);
        if (stage.Ours is Ours.Server)
        {
            var request = await stage.Peer.Requests.Reader.ReadAsync().InTime();
            Assert.Equal(stream, request.Id);
            Assert.Equal(fields, request.RequestHeaders!.Select(field => (field.Name, field.Value)));
            await stage.AcceptAsync(request);
        }
        else
        {
            Assert.Equal(stream, stage.Stream!.Id);
            Assert.Equal(fields, (await stage.Stream.Response.Task.InTime()).Select(field => (field.Name, field.Value)));
        }

        await stage.LivesAsync();
    }

    private sealed class Script(Func<Stage, byte[]?, Task> check) : Reaction
    {
        public override Task CheckAsync(Stage stage, byte[]? send) => check(stage, send);
    }
}
