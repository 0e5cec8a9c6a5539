using System.Buffers.Binary;
using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Http2;

/// <summary>Our server end, and what a client may and may not do.</summary>
public sealed class Http2ServerTests
{
    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\n\r\n")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX")]
    [InlineData("\u0016\u0003\u0001")]
    public async Task A_wrong_preface_costs_the_connection(string beginning)
    {
        await using var peer = Http2Peer.ConnectToServer();
        await peer.SendAsync(System.Text.Encoding.Latin1.GetBytes(beginning));
        await peer.ExpectAsync(FrameType.Settings, 0);
        await peer.ExpectGoAwayAsync(ProtocolError);
        Assert.Equal(HboneError.ProtocolError, (await Assert.ThrowsAsync<HboneException>(() => peer.Connection.Ready)).Error);
    }

    [Theory]
    [InlineData((byte)FrameType.Ping, (byte)None, 8)]
    [InlineData((byte)FrameType.Headers, (byte)EndHeaders, 0)]
    [InlineData((byte)FrameType.Settings, (byte)Ack, 0)]
    [InlineData((byte)0xEE, (byte)None, 0)]
    public async Task The_first_frame_must_be_SETTINGS(byte type, byte flags, int length)
    {
        await using var peer = Http2Peer.ConnectToServer();
        await peer.SendAsync([.. Http2Peer.Preface, .. Frame.Of((FrameType)type, (FrameFlags)flags, 0, new byte[length])]);
        await peer.ExpectGoAwayAsync(ProtocolError);
    }

    [Fact]
    public async Task The_preface_may_come_octet_by_octet()
    {
        await using var peer = Http2Peer.ConnectToServer();
        foreach (var octet in (byte[])[.. Http2Peer.Preface, .. Frame.Setting(Http2Setting.InitialWindowSize, 100)])
        {
            await peer.SendAsync(octet);
        }

        await peer.Connection.Ready.InTime();
        await peer.PingPongAsync();
    }

    [Fact]
    public async Task Our_settings_announce_what_the_options_say()
    {
        await using var peer = Http2Peer.ConnectToServer();
        var settings = await peer.NextAsync();
        Assert.Equal(
            [(Http2Setting.InitialWindowSize, 65_535u), (Http2Setting.MaxFrameSize, 131_072u), (Http2Setting.MaxHeaderListSize, 4096u), (Http2Setting.MaxConcurrentStreams, 3u)],
            settings.Payload.Chunk(6).Select(chunk => ((Http2Setting)BinaryPrimitives.ReadUInt16BigEndian(chunk), BinaryPrimitives.ReadUInt32BigEndian(chunk.AsSpan(2)))));
        var window = await peer.NextAsync();
        Assert.Equal((FrameType.WindowUpdate, 0, 65_535), (window.Type, window.StreamId, window.Number));
    }

    [Fact]
    public async Task SETTINGS_are_acknowledged_and_PING_is_answered()
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.SendAsync([.. Frame.Setting(Http2Setting.MaxConcurrentStreams, 5), .. Frame.Setting((Http2Setting)0x7777, 1)]);
        foreach (var ack in (Frame[])[await peer.NextAsync(), await peer.NextAsync()])
        {
            Assert.Equal((FrameType.Settings, Ack, 0), (ack.Type, ack.Header.Flags, ack.Header.Length));
        }

        await peer.PingPongAsync();
    }

    [Fact]
    public async Task What_has_no_meaning_for_us_is_ignored()
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.SendAsync(Frame.Of((FrameType)0xEE, (FrameFlags)0xFF, 7, new byte[1000]));
        await peer.SendAsync(FrameType.Priority, None, 9, new byte[5]);
        await peer.SendAsync(FrameType.Ping, Ack, 0, new byte[8]);
        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 0, 0x8000_0001));
        await peer.PingPongAsync();
    }

    public static TheoryData<string, byte[], Http2ErrorCode> Faults => new()
    {
        { "DATA on stream 0", Frame.Of(FrameType.Data, None, 0, 1), ProtocolError },
        { "DATA on an idle stream", Frame.Of(FrameType.Data, None, 5, 1), ProtocolError },
        { "DATA on an even stream", Frame.Of(FrameType.Data, None, 2, 1), ProtocolError },
        { "DATA with a pad length but no payload", Frame.Of(FrameType.Data, Padded, 1), ProtocolError },
        { "DATA with more padding than payload", Frame.Of(FrameType.Data, Padded, 1, 2, 0), ProtocolError },
        { "HEADERS on stream 0", Frame.Connect(0), ProtocolError },
        { "HEADERS on an even stream", Frame.Connect(2), ProtocolError },
        { "HEADERS with more padding than payload", Frame.Of(FrameType.Headers, EndHeaders | Padded, 3, 9, 0x82), ProtocolError },
        { "HEADERS too short for their priority", Frame.Of(FrameType.Headers, EndHeaders | FrameFlags.Priority, 3, 0, 0, 0, 0), ProtocolError },
        { "a header block that names no entry", Frame.Of(FrameType.Headers, EndHeaders, 3, 0xFE), CompressionError },
        { "a header block that is cut", Frame.Of(FrameType.Headers, EndHeaders, 3, 0x40, 0x0A), CompressionError },
        { "PRIORITY on stream 0", Frame.Of(FrameType.Priority, None, 0, new byte[5]), ProtocolError },
        { "PRIORITY of 4 octets", Frame.Of(FrameType.Priority, None, 1, new byte[4]), FrameSizeError },
        { "RST_STREAM on stream 0", Frame.Number32(FrameType.RstStream, 0, 8), ProtocolError },
        { "RST_STREAM on an idle stream", Frame.Number32(FrameType.RstStream, 5, 8), ProtocolError },
        { "RST_STREAM of 3 octets", Frame.Of(FrameType.RstStream, None, 1, new byte[3]), FrameSizeError },
        { "SETTINGS on a stream", Frame.Of(FrameType.Settings, None, 1), ProtocolError },
        { "SETTINGS of 5 octets", Frame.Of(FrameType.Settings, None, 0, new byte[5]), FrameSizeError },
        { "an acknowledgement of SETTINGS with a payload", Frame.Of(FrameType.Settings, Ack, 0, new byte[6]), FrameSizeError },
        { "SETTINGS_ENABLE_PUSH of 2", Frame.Setting(Http2Setting.EnablePush, 2), ProtocolError },
        { "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", Frame.Setting(Http2Setting.InitialWindowSize, 0x8000_0000), FlowControlError },
        { "SETTINGS_MAX_FRAME_SIZE of 16383", Frame.Setting(Http2Setting.MaxFrameSize, 16_383), ProtocolError },
        { "PUSH_PROMISE", Frame.Of(FrameType.PushPromise, EndHeaders, 1, new byte[4]), ProtocolError },
        { "PING on a stream", Frame.Of(FrameType.Ping, None, 1, new byte[8]), ProtocolError },
        { "PING of 7 octets", Frame.Of(FrameType.Ping, None, 0, new byte[7]), FrameSizeError },
        { "GOAWAY on a stream", Frame.Of(FrameType.GoAway, None, 1, new byte[8]), ProtocolError },
        { "GOAWAY of 7 octets", Frame.Of(FrameType.GoAway, None, 0, new byte[7]), FrameSizeError },
        { "WINDOW_UPDATE of 5 octets", Frame.Of(FrameType.WindowUpdate, None, 0, new byte[5]), FrameSizeError },
        { "WINDOW_UPDATE of the connection by 0", Frame.Number32(FrameType.WindowUpdate, 0, 0), ProtocolError },
        { "WINDOW_UPDATE of the connection over 2^31-1", Frame.Number32(FrameType.WindowUpdate, 0, int.MaxValue), FlowControlError },
        { "WINDOW_UPDATE on an idle stream", Frame.Number32(FrameType.WindowUpdate, 5, 1), ProtocolError },
        { "CONTINUATION without HEADERS", Frame.Of(FrameType.Continuation, EndHeaders, 1), ProtocolError },
        { "another frame within a header block", [.. Frame.Of(FrameType.Headers, None, 3, 0x82), .. Frame.Of(FrameType.Ping, None, 0, new byte[8])], ProtocolError },
        { "an unknown frame within a header block", [.. Frame.Of(FrameType.Headers, None, 3, 0x82), .. Frame.Of((FrameType)0xEE, None, 0)], ProtocolError },
        { "CONTINUATION of another stream", [.. Frame.Of(FrameType.Headers, None, 3, 0x82), .. Frame.Of(FrameType.Continuation, EndHeaders, 5)], ProtocolError },
        { "an empty CONTINUATION that ends nothing", [.. Frame.Of(FrameType.Headers, None, 3, 0x82), .. Frame.Of(FrameType.Continuation, None, 3)], EnhanceYourCalm },
        { "HEADERS far over the limit", Frame.Of(FrameType.Headers, EndHeaders, 3, new byte[9000]), EnhanceYourCalm },
        { "a frame over the announced size", Frame.Of(FrameType.Data, None, 1, new byte[131_073]), FrameSizeError },
        { "an unknown frame over the announced size", Frame.Of((FrameType)0xEE, None, 1, new byte[131_073]), FrameSizeError },
        { "DATA over the window of the stream", Frame.Of(FrameType.Data, None, 1, new byte[65_536]), FlowControlError },
        { "padding over the window of the stream", [.. Frame.Of(FrameType.Data, None, 1, new byte[65_535]), .. Frame.Of(FrameType.Data, Padded, 1, 0)], FlowControlError },
        { "DATA behind the end", [.. Frame.Of(FrameType.Data, EndStream, 1), .. Frame.Of(FrameType.Data, None, 1, 1)], StreamClosed },
        { "HEADERS behind the end", [.. Frame.Of(FrameType.Data, EndStream, 1), .. Frame.Headers(1, EndHeaders | EndStream, ("a", "b"))], StreamClosed },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task A_fault_that_costs_the_connection(string fault, byte[] frames, Http2ErrorCode code)
    {
        Assert.NotEmpty(fault);
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        await peer.SendAsync(frames);

        var goAway = await peer.ExpectAsync(FrameType.GoAway, 0);
        Assert.Equal((code, 1), (goAway.Code, goAway.Number));
        await peer.ExpectEndAsync();
        Assert.Equal((HboneError.ProtocolError, code), (peer.Connection.Failure!.Error, peer.Connection.Failure.Code));
        Assert.Equal(0, peer.Requests.Reader.Count);
        stream.Release();
    }

    [Fact]
    public async Task DATA_over_the_window_of_the_connection_costs_it()
    {
        await using var peer = await Http2Peer.ClientAsync();
        foreach (var id in (int[])[1, 3])
        {
            await peer.OpenAcceptedAsync(id);
            await peer.SendAsync(FrameType.Data, None, id, new byte[65_535]);
        }

        await peer.OpenAcceptedAsync(5);
        await peer.SendAsync(FrameType.Data, None, 5, 1);
        await peer.ExpectGoAwayAsync(FlowControlError);
    }

    [Fact]
    public async Task A_header_block_that_does_not_end_is_cut()
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.SendAsync(FrameType.Headers, None, 1, 0x82);
        for (var i = 0; i < 9; i++)
        {
            await peer.SendAsync(FrameType.Continuation, None, 1, new byte[1000]);
        }

        await peer.ExpectGoAwayAsync(EnhanceYourCalm);
    }

    [Fact]
    public async Task A_header_block_in_pieces_is_one_request()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var block = Frame.Block((":method", "CONNECT"), (":authority", "a:1"), ("baggage", "x"));
        await peer.SendAsync(FrameType.Headers, Padded | FrameFlags.Priority, 1, [2, 0, 0, 0, 0, 0, .. block[..3], 0, 0]);
        await peer.SendAsync(FrameType.Continuation, None, 1, block[3..5]);
        await peer.SendAsync(FrameType.Continuation, EndHeaders, 1, block[5..]);

        var stream = await peer.Requests.Reader.ReadAsync().InTime();
        Assert.Equal([new(":method", "CONNECT"), new(":authority", "a:1"), new HeaderField("baggage", "x")], stream.RequestHeaders);
    }

    [Theory]
    [InlineData(":method: CONNECT")]
    [InlineData(":method: CONNECT|:authority: a:1|:scheme: https")]
    [InlineData(":method: CONNECT|:authority: a:1|:protocol: websocket")]
    [InlineData(":method: CONNECT|:authority: a:1|connection: close")]
    [InlineData("a: b|:method: CONNECT|:authority: a:1")]
    public async Task A_malformed_request_is_reset_and_the_connection_goes_on(string fields)
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.SendAsync(Frame.Headers(1, EndHeaders, fields.Split('|').Select(field => (field[..field.IndexOf(": ", StringComparison.Ordinal)], field[(field.IndexOf(": ", StringComparison.Ordinal) + 2)..]))));
        await peer.ExpectResetAsync(1, ProtocolError);
        await peer.OpenAcceptedAsync(3);
        Assert.Equal(1, peer.Connection.ActiveStreams);
    }

    [Fact]
    public async Task A_list_of_headers_over_the_limit_is_reset_and_the_connection_goes_on()
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.SendAsync(Frame.Headers(1, EndHeaders, (":method", "CONNECT"), (":authority", "a:1"), ("a", new string('~', 4096))));
        await peer.ExpectResetAsync(1, EnhanceYourCalm);
        await peer.OpenAcceptedAsync(3);
    }

    [Fact]
    public async Task A_stream_over_the_limit_is_refused_until_one_is_over()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var first = await peer.OpenAcceptedAsync(1);
        await peer.OpenAcceptedAsync(3);
        await peer.OpenAcceptedAsync(5);
        await peer.SendAsync(Frame.Connect(7));
        await peer.ExpectResetAsync(7, RefusedStream);

        first.Release();
        Assert.True((await peer.ExpectAsync(FrameType.Data, 1)).EndsStream);
        await peer.ExpectResetAsync(1, NoError);
        await peer.OpenAcceptedAsync(9);
    }

    // CVE-2023-44487: resetting what one has just opened does not make room for more.
    [Fact]
    public async Task A_stream_that_was_reset_counts_until_the_application_is_done_with_it()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var streams = new List<Http2Stream>();
        foreach (var id in (int[])[1, 3, 5])
        {
            streams.Add(await peer.OpenAsync(id));
            await peer.SendAsync(Frame.Number32(FrameType.RstStream, id, (uint)Cancel));
        }

        await peer.SendAsync(Frame.Connect(7));
        await peer.ExpectResetAsync(7, RefusedStream);
        streams[0].Release();
        await peer.OpenAcceptedAsync(9);
    }

    [Theory]
    [InlineData(0u, ProtocolError)]
    [InlineData((uint)int.MaxValue, FlowControlError)]
    public async Task A_wrong_WINDOW_UPDATE_of_a_stream_resets_it(uint increment, Http2ErrorCode code)
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, increment));
        await peer.ExpectResetAsync(1, code);
        Assert.Equal(HboneError.ProtocolError, (await Assert.ThrowsAsync<HboneException>(() => stream.Input.SumAsync().InTime())).Error);
    }

    [Fact]
    public async Task Trailers_before_the_answer_end_a_stream_and_trailers_that_do_not_reset_it()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var first = await peer.OpenAsync(1);
        await peer.SendAsync(FrameType.Data, None, 1, (byte)'a');
        await peer.SendAsync(Frame.Headers(1, EndHeaders | EndStream, ("a", "b")));
        Assert.Equal("a", await first.Input.HearAsync().InTime());

        await peer.OpenAcceptedAsync(3);
        await peer.SendAsync(Frame.Headers(3, EndHeaders, ("a", "b")));
        await peer.ExpectResetAsync(3, ProtocolError);
    }

    [Theory]
    [InlineData(NoError, null)]
    [InlineData(Cancel, null)]
    [InlineData(ConnectError, HboneError.Reset)]
    [InlineData(InternalError, HboneError.Reset)]
    [InlineData(StreamClosed, HboneError.Reset)]
    [InlineData((Http2ErrorCode)0x7777, HboneError.Reset)]
    public async Task RST_STREAM_ends_the_octets_like_a_FIN_or_fails_them(Http2ErrorCode code, HboneError? error)
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        await peer.SendAsync(FrameType.Data, None, 1, (byte)'a');
        Assert.Equal("a", await stream.ReadTextAsync());
        await peer.SendAsync(Frame.Number32(FrameType.RstStream, 1, (uint)code));
        if (error is null)
        {
            Assert.Equal(0, (await stream.Input.SumAsync().InTime()).Count);
        }
        else
        {
            var reset = await Assert.ThrowsAsync<HboneException>(() => stream.Input.SumAsync().InTime());
            Assert.Equal((error.Value, code), (reset.Error, reset.Code!.Value));
        }

        await Eventually.Until("flushes say that nobody reads", () => stream.Output.WriteAsync(new byte[1]).AsTask().Result.IsCompleted);
        stream.Release();
        await peer.PingPongAsync();
        Assert.Equal(0, peer.Connection.ActiveStreams);
    }

    [Fact]
    public async Task Frames_that_crossed_our_reset_are_dropped_and_credited()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        stream.Abort(Cancel);
        await peer.ExpectResetAsync(1, Cancel);
        await peer.SendAsync(FrameType.Data, None, 1, new byte[65_535]);
        await peer.SendAsync(Frame.Headers(1, EndHeaders | EndStream, ("a", "b")));
        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 1));
        await peer.SendAsync(Frame.Number32(FrameType.RstStream, 1, 0));

        var credit = await peer.ExpectAsync(FrameType.WindowUpdate, 0);
        Assert.Equal(65_535, credit.Number);
        await peer.PingPongAsync();
    }

    [Fact]
    public async Task Sending_respects_a_small_window_and_goes_on_when_it_opens()
    {
        await using var peer = await Http2Peer.ClientAsync(settings: (Http2Setting.InitialWindowSize, 10));
        var stream = await peer.OpenAcceptedAsync(1);
        var sending = stream.Output.SayAsync("0123456789abcdefghijklmnopqrstuvwxyz");
        Assert.Equal("0123456789", await peer.ReadTextAsync(1, 10));
        await peer.PingPongAsync();

        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 3));
        Assert.Equal("abc", await peer.ReadTextAsync(1, 3));
        await peer.PingPongAsync();

        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 1000));
        var rest = await peer.ExpectAsync(FrameType.Data, 1);
        Assert.Equal("defghijklmnopqrstuvwxyz"u8, rest.Payload);
        Assert.True(rest.EndsStream || (await peer.ExpectAsync(FrameType.Data, 1)).EndsStream);
        await sending.InTime();
    }

    [Fact]
    public async Task A_change_of_settings_can_make_a_window_negative()
    {
        await using var peer = await Http2Peer.ClientAsync(settings: (Http2Setting.InitialWindowSize, 10));
        var stream = await peer.OpenAcceptedAsync(1);
        await stream.Output.WriteAsync(new byte[100]).InTime();
        await peer.ReadDataAsync(1, 10);

        // 10 sent of 4 allowed: the window is -6.
        await peer.SendAsync(Frame.Setting(Http2Setting.InitialWindowSize, 4));
        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 6));
        await peer.PingPongAsync();
        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 1, 1));
        await peer.ReadDataAsync(1, 1);

        await peer.SendAsync(Frame.Setting(Http2Setting.InitialWindowSize, 24));
        await peer.ReadDataAsync(1, 20);
        await peer.PingPongAsync();
    }

    [Fact]
    public async Task The_window_of_the_connection_holds_all_streams_and_its_opening_wakes_them()
    {
        await using var peer = await Http2Peer.ClientAsync(settings: (Http2Setting.InitialWindowSize, 1_000_000));
        var first = await peer.OpenAcceptedAsync(1);
        var second = await peer.OpenAcceptedAsync(3);
        var sending = first.Output.WriteAsync(new byte[90_000]).AsTask();
        await peer.ReadDataAsync(1, 65_535);
        await sending.InTime();
        await second.Output.WriteAsync(new byte[10]).InTime();
        await peer.PingPongAsync();

        await peer.SendAsync(Frame.Number32(FrameType.WindowUpdate, 0, 90_000));
        var received = new Dictionary<int, int> { [1] = 0, [3] = 0 };
        while (received[1] < 90_000 - 65_535 || received[3] < 10)
        {
            var frame = await peer.NextAsync();
            Assert.Equal(FrameType.Data, frame.Type);
            received[frame.StreamId] += frame.Payload.Length;
        }

        Assert.Equal((24_465, 10), (received[1], received[3]));
    }

    [Fact]
    public async Task A_stream_that_nobody_reads_does_not_hold_up_another()
    {
        await using var peer = await Http2Peer.ClientAsync();
        await peer.OpenAcceptedAsync(1);
        var second = await peer.OpenAcceptedAsync(3);
        await peer.SendAsync(FrameType.Data, None, 1, new byte[65_535]);
        var summing = second.Input.SumAsync();
        var windows = new Dictionary<int, int> { [0] = 65_535, [3] = 65_535 };
        for (var left = 600_000; left > 0;)
        {
            var count = Math.Min(Math.Min(windows[0], windows[3]), Math.Min(left, 10_000));
            if (count == 0)
            {
                var update = await peer.NextAsync();
                Assert.Equal(FrameType.WindowUpdate, update.Type);
                windows[update.StreamId] += update.Number;
                continue;
            }

            await peer.SendAsync(FrameType.Data, None, 3, new byte[count]);
            (windows[0], windows[3], left) = (windows[0] - count, windows[3] - count, left - count);
        }

        await peer.SendAsync(FrameType.Data, EndStream, 3);
        Assert.Equal(600_000, (await summing.InTime()).Count);
    }

    [Fact]
    public async Task Padding_counts_against_the_windows_and_is_credited_with_the_rest()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        for (var i = 0; i < 129; i++)
        {
            // One octet of length, one of payload, 254 of padding.
            await peer.SendAsync(FrameType.Data, Padded, 1, [254, (byte)'p', .. new byte[254]]);
        }

        var text = 0;
        while (text < 129)
        {
            text += (await stream.ReadTextAsync()).Length;
        }

        Assert.True((await peer.ExpectAsync(FrameType.WindowUpdate, 1)).Number >= 32_767);
        await peer.PingPongAsync();
    }

    [Fact]
    public async Task A_PING_flood_that_does_not_read_the_answers_is_cut()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var ping = Frame.Of(FrameType.Ping, None, 0, new byte[8]);
        byte[] pings = [.. Enumerable.Repeat(ping, 1000).SelectMany(frame => frame)];
        try
        {
            for (var i = 0; i < 100; i++)
            {
                await peer.SendAsync(pings);
                if (peer.Connection.Failure is not null)
                {
                    break;
                }
            }
        }
        catch (IOException)
        {
            // Cut already.
        }

        await Eventually.Until("the flood is noticed", () => peer.Connection.Failure is { Code: EnhanceYourCalm });
        await Eventually.Until("the connection is gone", () =>
        {
            peer.Time.Advance(TimeSpan.FromSeconds(3));
            return peer.Connection.Closed.IsCompleted;
        });
    }

    [Fact]
    public async Task Draining_tells_twice_takes_what_was_on_its_way_and_closes_behind_the_last_stream()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var first = await peer.OpenAcceptedAsync(1);
        var drained = peer.Connection.DrainAsync();
        var warning = await peer.ExpectAsync(FrameType.GoAway, 0);
        Assert.Equal((int.MaxValue, NoError), (warning.Number, warning.Code));
        var ping = await peer.ExpectAsync(FrameType.Ping, 0);

        // On its way when we began to drain.
        var second = await peer.OpenAcceptedAsync(3);
        await peer.SendAsync(FrameType.Ping, Ack, 0, ping.Payload);
        var goAway = await peer.ExpectAsync(FrameType.GoAway, 0);
        Assert.Equal((3, NoError), (goAway.Number, goAway.Code));

        await peer.SendAsync(Frame.Connect(5));
        await peer.ExpectResetAsync(5, RefusedStream);
        foreach (var stream in (Http2Stream[])[first, second])
        {
            await peer.SendAsync(FrameType.Data, EndStream, stream.Id, (byte)'x');
            Assert.Equal("x", await stream.Input.HearAsync().InTime());
            Assert.False(drained.IsCompleted);
            await stream.Output.CompleteAsync();
            Assert.True((await peer.ExpectAsync(FrameType.Data, stream.Id)).EndsStream);
        }

        await peer.ExpectGoAwayAsync(NoError);
        await drained.InTime();
    }

    [Fact]
    public async Task A_silent_peer_gets_a_PING_and_is_then_given_up()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        await peer.PingPongAsync();
        for (var i = 0; i < 8; i++)
        {
            peer.Time.Advance(TimeSpan.FromSeconds(2.5));
        }

        await peer.ExpectAsync(FrameType.Ping, 0);
        peer.Time.Advance(TimeSpan.FromSeconds(25));
        var lost = await Assert.ThrowsAsync<HboneException>(() => stream.Input.SumAsync().InTime());
        Assert.Equal(HboneError.ConnectionLost, lost.Error);
        await peer.Connection.Closed.InTime();
    }

    [Fact]
    public async Task A_peer_that_answers_its_PINGs_is_kept()
    {
        await using var peer = await Http2Peer.ClientAsync();
        for (var round = 0; round < 20; round++)
        {
            for (var tick = 0; tick < 6; tick++)
            {
                peer.Time.Advance(TimeSpan.FromSeconds(2.5));
            }

            var ping = await peer.ExpectAsync(FrameType.Ping, 0);
            await peer.SendAsync(FrameType.Ping, Ack, 0, ping.Payload);
            await peer.PingPongAsync();
        }

        Assert.Null(peer.Connection.Failure);
    }

    [Fact]
    public async Task The_end_of_the_transport_fails_the_streams_as_lost()
    {
        await using var peer = await Http2Peer.ClientAsync();
        var stream = await peer.OpenAcceptedAsync(1);
        await peer.HangUpAsync();
        Assert.Equal(HboneError.ConnectionLost, (await Assert.ThrowsAsync<HboneException>(() => stream.Input.SumAsync().InTime())).Error);
        await peer.Connection.Closed.InTime();
    }
}
