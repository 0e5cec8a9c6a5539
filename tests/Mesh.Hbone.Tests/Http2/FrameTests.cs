using System.Buffers;
using FsCheck;
using FsCheck.Fluent;

namespace Mesh.Hbone.Http2;

/// <summary>The small parts: frame headers, windows, settings, the buffer to send.</summary>
public sealed class FrameTests
{
    [Fact]
    public void A_frame_header_reads_as_it_was_written() => Check.One(
        Config.QuickThrowOnFailure,
        Prop.ForAll(
            (from length in Gen.Choose(0, FrameHeader.LargestMaxLength)
             from type in Gen.Choose(0, 255)
             from flags in Gen.Choose(0, 255)
             from stream in Gen.Choose(0, int.MaxValue)
             select new FrameHeader(length, (FrameType)type, (FrameFlags)flags, stream)).ToArbitrary(),
            header =>
            {
                var octets = new byte[FrameHeader.Size];
                header.Write(octets);
                return FrameHeader.Read(octets) == header;
            }));

    [Fact]
    public void The_reserved_bit_of_a_stream_is_ignored() =>
        Assert.Equal(new FrameHeader(0x010203, FrameType.Ping, FrameFlags.Ack, 5), FrameHeader.Read([1, 2, 3, 6, 1, 0x80, 0, 0, 5]));

    [Theory]
    [InlineData(10, 10, true, 0)]
    [InlineData(10, 11, false, 10)]
    [InlineData(0, 0, true, 0)]
    [InlineData(-5, 1, false, -5)]
    public void A_window_gives_what_it_has(int window, int count, bool taken, int left)
    {
        var flow = new FlowWindow(window);
        Assert.Equal((taken, left), (flow.TryTake(count), flow.Available));
    }

    [Theory]
    [InlineData(0, int.MaxValue, true, int.MaxValue)]
    [InlineData(1, int.MaxValue, false, 1)]
    [InlineData(-1, int.MaxValue, true, int.MaxValue - 1)]
    [InlineData(10, -65_535, true, -65_525)]
    public void A_window_grows_to_2_to_the_31_and_shrinks_below_nothing(int window, int count, bool added, int left)
    {
        var flow = new FlowWindow(window);
        Assert.Equal((added, left), (flow.TryAdd(count), flow.Available));
    }

    [Theory]
    [InlineData(1, 0u, null)]
    [InlineData(1, uint.MaxValue, null)]
    [InlineData(2, 0u, null)]
    [InlineData(2, 1u, null)]
    [InlineData(2, 2u, Http2ErrorCode.ProtocolError)]
    [InlineData(3, 0u, null)]
    [InlineData(4, 0u, null)]
    [InlineData(4, 0x7FFF_FFFFu, null)]
    [InlineData(4, 0x8000_0000u, Http2ErrorCode.FlowControlError)]
    [InlineData(5, 16_383u, Http2ErrorCode.ProtocolError)]
    [InlineData(5, 16_384u, null)]
    [InlineData(5, 16_777_215u, null)]
    [InlineData(5, 16_777_216u, Http2ErrorCode.ProtocolError)]
    [InlineData(6, 0u, null)]
    [InlineData(8, 1u, null)]
    [InlineData(0x7777, 1u, null)]
    public void A_setting_is_taken_or_is_an_error(int id, uint value, Http2ErrorCode? error) =>
        Assert.Equal(error, new PeerSettings().Apply(Frame.Setting((Http2Setting)id, value).AsSpan(FrameHeader.Size), fromServer: false));

    [Fact]
    public void Settings_begin_with_the_defaults_and_the_last_of_a_frame_counts()
    {
        var settings = new PeerSettings();
        Assert.Equal((4096u, uint.MaxValue, 65_535, 16_384), (settings.HeaderTableSize, settings.MaxConcurrentStreams, settings.InitialWindowSize, settings.MaxFrameSize));
        Assert.Null(settings.Apply([0, 4, 0, 0, 0, 1, 0, 4, 0, 0, 0, 2, 0, 5, 0, 0, 0x80, 0, 0, 3, 0, 0, 0, 9, 0, 1, 0, 0, 0, 7], fromServer: true));
        Assert.Equal((7u, 9u, 2, 32_768), (settings.HeaderTableSize, settings.MaxConcurrentStreams, settings.InitialWindowSize, settings.MaxFrameSize));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(7)]
    public void Settings_that_are_cut_are_an_error(int length) => Assert.Equal(Http2ErrorCode.FrameSizeError, new PeerSettings().Apply(new byte[length], fromServer: true));

    [Fact]
    public void A_block_over_the_frame_size_goes_on_in_CONTINUATION()
    {
        var output = new ArrayBufferWriter<byte>();
        FrameWriter.WriteHeaders(output, 3, new byte[25], maxFrameLength: 10, endStream: true);
        var headers = new[] { 0, 19, 38 }.Select(at => FrameHeader.Read(output.WrittenSpan[at..]));
        Assert.Equal(
            [
                new(10, FrameType.Headers, FrameFlags.EndStream, 3), new(10, FrameType.Continuation, FrameFlags.None, 3),
                new FrameHeader(5, FrameType.Continuation, FrameFlags.EndHeaders, 3),
            ],
            headers);
    }

    [Fact]
    public void The_buffer_grows_keeps_its_octets_and_gives_its_array_back()
    {
        var buffer = new OutputBuffer();
        var expected = new List<byte>();
        foreach (var size in (int[])[1, 255, 1, 5000, 100_000])
        {
            var octets = Enumerable.Range(0, size).Select(i => (byte)(i + size)).ToArray();
            buffer.Write(octets);
            expected.AddRange(octets);
        }

        var other = new OutputBuffer();
        other.Append(buffer.Written.Span);
        Assert.Equal(expected, buffer.Written.ToArray());
        Assert.Equal(expected, other.Written.ToArray());
        buffer.Clear();
        Assert.Equal(0, buffer.Length);
        other.Release();
        other.Release();
        Assert.Equal(0, other.Written.Length);
    }
}
