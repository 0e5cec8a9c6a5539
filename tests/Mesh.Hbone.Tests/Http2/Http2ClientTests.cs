using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Http2;

/// <summary>Our client end, and what a server may and may not do.</summary>
public sealed class Http2ClientTests
{
    private static readonly HeaderField[] Request = [new(":method", "CONNECT"), new(":authority", "10.0.0.1:80")];

    [Fact]
    public async Task A_request_is_a_CONNECT_with_nothing_but_its_authority()
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = Open(peer);
        Assert.Equal(":method: CONNECT, :authority: 10.0.0.1:80", await peer.ExpectHeadersAsync(1));
        await peer.SendAsync(Status(1, "200"));
        Assert.Equal("200", (await stream.Response.Task.InTime())[0].Value);
    }

    [Fact]
    public async Task Interim_responses_are_passed_over()
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = await OpenAsync(peer, 1);
        await peer.SendAsync(Status(1, "100"));
        await peer.SendAsync(Status(1, "103"));
        Assert.False(stream.Response.Task.IsCompleted);
        await peer.SendAsync(Status(1, "200"));
        Assert.Equal("200", (await stream.Response.Task.InTime())[0].Value);
    }

    [Theory]
    [InlineData("99")]
    [InlineData("abc")]
    [InlineData("")]
    public async Task A_response_without_a_status_resets_the_stream(string status)
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = await OpenAsync(peer, 1);
        await peer.SendAsync(Frame.Headers(1, EndHeaders, status.Length > 0 ? (":status", status) : ("a", "b")));
        await peer.ExpectResetAsync(1, ProtocolError);
        await Assert.ThrowsAsync<HboneException>(() => stream.Response.Task.InTime());
        await OpenAsync(peer, 3);
    }

    [Fact]
    public async Task Trailers_end_the_octets_of_a_refusal()
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = await OpenAsync(peer, 1);
        await peer.SendAsync(Status(1, "503"));
        await peer.SendAsync(FrameType.Data, None, 1, "abc"u8.ToArray());
        await peer.SendAsync(Frame.Headers(1, EndHeaders | EndStream, ("grpc-status", "0")));
        Assert.Equal("abc", await stream.Input.HearAsync().InTime());
    }

    [Theory]
    [InlineData(RefusedStream, HboneError.Unprocessed)]
    [InlineData(Cancel, HboneError.Reset)]
    [InlineData(ConnectError, HboneError.Reset)]
    public async Task RST_STREAM_in_place_of_a_response_fails_the_request(Http2ErrorCode code, HboneError error)
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = await OpenAsync(peer, 1);
        await peer.SendAsync(Frame.Number32(FrameType.RstStream, 1, (uint)code));
        var failure = await Assert.ThrowsAsync<HboneException>(() => stream.Response.Task.InTime());
        Assert.Equal((error, code), (failure.Error, failure.Code!.Value));
    }

    [Fact]
    public async Task GOAWAY_lets_streams_up_to_the_last_go_on_and_fails_the_others_as_unprocessed()
    {
        await using var peer = await Http2Peer.ServerAsync();
        var first = await OpenAsync(peer, 1);
        var second = await OpenAsync(peer, 3);
        await peer.SendAsync(Frame.GoAway(1, NoError));
        Assert.Equal(HboneError.Unprocessed, (await Assert.ThrowsAsync<HboneException>(() => second.Response.Task.InTime())).Error);
        Assert.False(peer.Connection.IsUsable);
        Assert.Null(peer.Connection.OpenStream(Request, 100));

        await peer.SendAsync(Status(1, "200"));
        await peer.SendAsync(FrameType.Data, EndStream, 1, "late"u8.ToArray());
        Assert.Equal("late", await first.Input.HearAsync().InTime());
        await first.Output.SayAsync("bye");
        Assert.Equal("bye", await peer.ReadTextAsync(1, 3));
        if (await peer.NextAsync() is { Type: FrameType.Data } end)
        {
            Assert.True(end.EndsStream);
        }

        await Eventually.Until("the connection is drained", () => peer.Connection.Failure is not null);
    }

    [Theory]
    [InlineData(2u, 100, 2)]
    [InlineData(100u, 2, 2)]
    [InlineData(uint.MaxValue, 3, 3)]
    [InlineData(0u, 3, 0)]
    public async Task As_many_streams_are_open_as_both_ends_allow(uint theirs, int ours, int expected)
    {
        await using var peer = await Http2Peer.ServerAsync(null, (Http2Setting.MaxConcurrentStreams, theirs));
        Assert.Equal(expected > 0, peer.Connection.IsUsable);
        for (var i = 0; i < expected; i++)
        {
            Assert.NotNull(peer.Connection.OpenStream(Request, ours));
        }

        Assert.Null(peer.Connection.OpenStream(Request, ours));
    }

    [Fact]
    public async Task A_stream_that_is_over_makes_room()
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = peer.Connection.OpenStream(Request, 1)!;
        await peer.ExpectAsync(FrameType.Headers, 1);
        Assert.Null(peer.Connection.OpenStream(Request, 1));
        stream.Abort(Cancel);
        await peer.ExpectResetAsync(1, Cancel);
        Assert.NotNull(peer.Connection.OpenStream(Request, 1));
        await peer.ExpectAsync(FrameType.Headers, 3);
    }

    [Fact]
    public async Task A_stream_released_unread_tells_the_server_to_send_no_more()
    {
        await using var peer = await Http2Peer.ServerAsync();
        var stream = await OpenAsync(peer, 1);
        await peer.SendAsync(Status(1, "200"));
        await stream.Response.Task.InTime();
        stream.Release();
        Assert.True((await peer.ExpectAsync(FrameType.Data, 1)).EndsStream);
        await peer.ExpectResetAsync(1, Cancel);
    }

    public static TheoryData<string, byte[], Http2ErrorCode> Faults => new()
    {
        { "HEADERS on an idle stream", Status(5, "200"), ProtocolError },
        { "HEADERS on an even stream", Status(2, "200"), ProtocolError },
        { "PUSH_PROMISE", Frame.Of(FrameType.PushPromise, EndHeaders, 1, new byte[4]), ProtocolError },
        { "a header block that names no entry", Frame.Of(FrameType.Headers, EndHeaders, 1, 0xFE), CompressionError },
        { "DATA over the window", [.. Status(1, "200"), .. Frame.Of(FrameType.Data, None, 1, new byte[65_536])], FlowControlError },
        { "RST_STREAM on an idle stream", Frame.Number32(FrameType.RstStream, 3, 8), ProtocolError },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task A_fault_that_costs_the_connection(string fault, byte[] frames, Http2ErrorCode code)
    {
        Assert.NotEmpty(fault);
        await using var peer = await Http2Peer.ServerAsync();
        var stream = await OpenAsync(peer, 1);
        await peer.SendAsync(frames);
        await peer.ExpectGoAwayAsync(code);
        var failure = await Assert.ThrowsAsync<HboneException>(() => stream.Input.SumAsync().InTime());
        Assert.Equal((HboneError.ProtocolError, code), (failure.Error, failure.Code!.Value));
    }

    [Fact]
    public async Task A_smaller_header_table_of_the_peer_is_kept()
    {
        await using var peer = await Http2Peer.ServerAsync(null, (Http2Setting.HeaderTableSize, 0));
        Open(peer);
        var first = await peer.ExpectAsync(FrameType.Headers, 1);
        Assert.Equal(0x20, first.Payload[0]);
        Open(peer);
        var second = await peer.ExpectAsync(FrameType.Headers, 3);
        Assert.Equal(first.Payload.Skip(1), second.Payload);
    }

    private static byte[] Status(int stream, string status) => Frame.Headers(stream, EndHeaders, (":status", status));

    private static Http2Stream Open(Http2Peer peer) => peer.Connection.OpenStream(Request, 100)!;

    private static async Task<Http2Stream> OpenAsync(Http2Peer peer, int id)
    {
        var stream = Open(peer);
        await peer.ExpectAsync(FrameType.Headers, id);
        return stream;
    }
}
