using System.Buffers;
using System.IO.Pipelines;

namespace Mesh.Hbone.Transport;

/// <summary>Two pipes as one stream. Disposing it ends both: who reads here is woken, who writes at the other end learns that nobody reads.</summary>
internal sealed class DuplexStream(PipeReader reader, PipeWriter writer, Func<ValueTask>? onDisposed = null) : AsyncStream
{
    private const int Idle = 0;
    private const int Reading = 1;
    private const int Disposed = 2;
    private readonly CancellationTokenSource _disposed = new();
    private int _state;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var before = Interlocked.CompareExchange(ref _state, Reading, Idle);
        ObjectDisposedException.ThrowIf(before == Disposed, this);
        if (before == Reading)
        {
            throw new InvalidOperationException("the stream is being read already; one reader at a time");
        }

        try
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposed.Token);
            var result = await reader.ReadAsync(either.Token);
            var part = result.Buffer.Slice(0, Math.Min(result.Buffer.Length, buffer.Length));
            part.CopyTo(buffer.Span);

            // Counted before they are given back: the sequence is not valid after that.
            var count = (int)part.Length;
            reader.AdvanceTo(part.End);
            return count;
        }
        finally
        {
            if (Interlocked.CompareExchange(ref _state, Idle, Reading) == Disposed)
            {
                await reader.CompleteAsync();
            }
        }
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed.IsCancellationRequested, this);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposed.Token);
        var result = await writer.WriteAsync(buffer, either.Token);
        if (result.IsCompleted)
        {
            throw new IOException("the peer reads no more");
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing && Interlocked.Exchange(ref _state, Disposed) is var before && before != Disposed)
        {
            _disposed.Cancel();
            writer.Complete();
            if (before == Idle)
            {
                // Otherwise whoever reads ends it: what it looks at must not be taken away from it.
                reader.Complete();
            }

            _ = onDisposed?.Invoke().AsTask();
        }

        base.Dispose(disposing);
    }
}
