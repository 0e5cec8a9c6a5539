using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;

namespace Mesh.Hbone.Http2;

/// <summary>What happens while the writer is at work.</summary>
public sealed class Http2WriterTests
{
    [Fact]
    public async Task A_refusal_that_waits_for_the_writer_still_tells_the_client_to_send_no_more()
    {
        GatedStream gate = null!;
        await using var peer = await Http2Peer.ClientAsync(wrap: stream => gate = new GatedStream(stream));
        var stream = await peer.OpenAsync(1);
        await gate.CloseAsync(() => peer.SendAsync(FrameType.Ping, FrameFlags.None, 0, new byte[8]));

        // The writer is held in the answer to the PING. Refuse does these two.
        peer.Connection.Respond(stream, [new HeaderField(":status", "503")], endStream: true);
        stream.Release();
        gate.Open();

        Assert.True((await peer.ExpectAsync(FrameType.Headers, 1)).EndsStream);
        await Eventually.Until("the stream is over", () => peer.Connection.ActiveStreams == 0);
        await peer.ExpectResetAsync(1, Http2ErrorCode.NoError);
    }

    // The writer is busy with the credit of a stream while its application answers: padding makes it look at the stream again and again.
    [Fact]
    public async Task An_answer_stands_before_the_end_of_its_stream_whatever_the_writer_is_doing()
    {
        var options = Http2Peer.SmallOptions();
        options.MaxConcurrentStreams = 100;
        await using var peer = await Http2Peer.ClientAsync(options);
        for (var id = 1; id < 4000; id += 2)
        {
            var answering = Task.Run(async () =>
            {
                var stream = await peer.Requests.Reader.ReadAsync();
                peer.Connection.Respond(stream, [new HeaderField(":status", "503")], endStream: true);
                stream.Release();
            });
            await peer.SendAsync(Frame.Connect(id));
            for (var i = 0; i < 20; i++)
            {
                await peer.SendAsync(Frame.Of(FrameType.Data, FrameFlags.Padded, id, 1, 0));
            }

            // So many frames with so little in them are borne in this time.
            peer.Time.Advance(TimeSpan.FromMilliseconds(150));

            Assert.True((await peer.ExpectAsync(FrameType.Headers, id)).EndsStream);
            await peer.ExpectResetAsync(id, Http2ErrorCode.NoError);
            await answering;
        }
    }

    /// <summary>A stream whose writes wait while it is closed.</summary>
    private sealed class GatedStream(Stream inner) : Stream
    {
        private readonly TaskCompletionSource _held = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private TaskCompletionSource? _gate;

        public override bool CanRead => true;

        public override bool CanWrite => true;

        public override bool CanSeek => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public async Task CloseAsync(Func<Task> provoke)
        {
            _gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await provoke();
            await _held.Task.InTime();
        }

        public void Open() => _gate!.SetResult();

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => inner.ReadAsync(buffer, cancellationToken);

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_gate is { } gate)
            {
                _held.TrySetResult();
                await gate.Task;
            }

            await inner.WriteAsync(buffer, cancellationToken);
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _gate?.TrySetResult();
                inner.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}
