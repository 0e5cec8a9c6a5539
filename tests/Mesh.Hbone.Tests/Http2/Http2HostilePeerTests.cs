using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;

namespace Mesh.Hbone.Http2;

/// <summary>Peers that keep to the letter of the protocol, and to nothing else.</summary>
public sealed class Http2HostilePeerTests
{
    [Fact]
    public async Task A_stream_that_waits_for_the_window_of_the_connection_is_let_go_when_the_peer_resets_it()
    {
        await using var peer = await Http2Peer.ClientAsync(null, null, (Http2Setting.InitialWindowSize, (uint)int.MaxValue));
        var stream = await peer.OpenAcceptedAsync(1);

        // One octet more than the connection lets through.
        await stream.Output.WriteAsync(new byte[FlowWindow.Default + 1]);
        await peer.ReadDataAsync(1, FlowWindow.Default);
        Assert.Equal(1, peer.Connection.BlockedStreams);

        await peer.SendAsync(Frame.Number32(FrameType.RstStream, 1, (uint)Http2ErrorCode.Cancel));
        await peer.PingPongAsync();

        Assert.Equal(0, peer.Connection.BlockedStreams);
        stream.Release();
    }

    [Fact]
    public async Task A_peer_that_does_not_answer_the_drain_is_told_the_last_stream_all_the_same()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        _ = peer.Connection.DrainAsync();
        Assert.Equal(int.MaxValue, (await peer.ExpectAsync(FrameType.GoAway, 0)).Number);

        peer.Time.Advance(TimeSpan.FromSeconds(3));

        Assert.Equal(1, (await peer.ExpectAsync(FrameType.GoAway, 0)).Number);
        await peer.SendAsync(Frame.Connect(3));
        await peer.ExpectResetAsync(3, Http2ErrorCode.RefusedStream);
        stream.Release();
    }

    [Fact]
    public async Task The_last_stream_of_GOAWAY_never_rises()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        _ = peer.Connection.DrainAsync();
        peer.Time.Advance(TimeSpan.FromSeconds(3));
        await peer.ExpectAsync(FrameType.GoAway, 0);
        await peer.ExpectAsync(FrameType.GoAway, 0);
        await peer.SendAsync(Frame.Connect(7));
        await peer.ExpectResetAsync(7, Http2ErrorCode.RefusedStream);

        stream.Abort(Http2ErrorCode.Cancel);
        await peer.ExpectResetAsync(1, Http2ErrorCode.Cancel);

        Assert.Equal(1, (await peer.ExpectAsync(FrameType.GoAway, 0)).Number);
        stream.Release();
    }

    [Fact]
    public async Task A_closed_tunnel_whose_peer_takes_nothing_is_reset_after_a_minute()
    {
        var patient = Http2Peer.SmallOptions();
        patient.KeepAliveInterval = patient.KeepAliveTimeout = TimeSpan.FromHours(8);
        await using var peer = await Http2Peer.ClientAsync(patient, null, (Http2Setting.InitialWindowSize, 0u));
        var stream = await peer.OpenAcceptedAsync(1);
        await stream.Output.WriteAsync(new byte[100]);
        stream.Release();
        await peer.PingPongAsync();

        peer.Time.Advance(TimeSpan.FromHours(3));

        await peer.ExpectResetAsync(1, Http2ErrorCode.Cancel);
        await Eventually.Until("it counts no more", () => peer.Connection.ActiveStreams == 0);
    }

    [Fact]
    public async Task Padding_alone_gives_its_credit_back()
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.OpenAcceptedAsync(1);

        // Half of the window in padding: pad length 255, and nothing else.
        var padded = Frame.Of(FrameType.Data, FrameFlags.Padded, 1, [255, .. new byte[255]]);
        for (var sent = 0; sent < FlowWindow.Default / 2; sent += 256)
        {
            await peer.SendAsync(padded);
        }

        Assert.True((await peer.ExpectAsync(FrameType.WindowUpdate, 1)).Number >= FlowWindow.Default / 2);
    }

    [Fact]
    public async Task A_refusal_of_a_request_is_not_the_end_of_the_connection()
    {
        await using var peer = await Http2Peer.ClientAsync();
        for (var id = 1; id < 40; id += 2)
        {
            var stream = await peer.OpenAsync(id);
            peer.Connection.Respond(stream, [new HeaderField(":status", "401")], endStream: true);
            stream.Release();
            await peer.ExpectHeadersAsync(id);
            await peer.ExpectResetAsync(id, Http2ErrorCode.NoError);
        }

        Assert.Equal(0, peer.Connection.ActiveStreams);
    }

    [Fact]
    public void A_table_that_was_small_in_between_is_told_as_small()
    {
        var settings = new PeerSettings();
        Assert.Null(settings.TakeHeaderTableSizes());
        Assert.Null(settings.Apply(Frame.Settings((Http2Setting.HeaderTableSize, 0u), (Http2Setting.HeaderTableSize, 4096u)).AsSpan(FrameHeader.Size), fromServer: true));
        Assert.Equal((0u, 4096u), settings.TakeHeaderTableSizes());
        Assert.Null(settings.TakeHeaderTableSizes());
    }
}
