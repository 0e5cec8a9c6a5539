using System.Buffers;

namespace Mesh.Hbone.Http2;

/// <summary>A pooled array that the connection reads into and that streams keep pieces of: it goes back to the pool with the last holder. Thread-safe.</summary>
internal sealed class ReadBuffer
{
    /// <summary>Four full TLS records.</summary>
    public const int DefaultSize = 64 * 1024;

    // The objects are reused, too: nothing is allocated for a frame.
    private const int MaxSpare = 256;
    private static readonly Stack<ReadBuffer> SpareBuffers = new();
    private int _holders;

    private ReadBuffer()
    {
    }

    public byte[] Array { get; private set; } = [];

    /// <summary>Whether streams hold pieces, so that nothing in it may be written over.</summary>
    public bool IsShared => Volatile.Read(ref _holders) > 1;

    /// <summary>Takes one from the pool; the caller holds it.</summary>
    /// <param name="size">At least as many octets.</param>
    public static ReadBuffer Rent(int size)
    {
        ReadBuffer? buffer;
        lock (SpareBuffers)
        {
            SpareBuffers.TryPop(out buffer);
        }

        buffer ??= new ReadBuffer();
        buffer.Array = ArrayPool<byte>.Shared.Rent(size);
        buffer._holders = 1;
        return buffer;
    }

    public void Hold() => Interlocked.Increment(ref _holders);

    public void Release()
    {
        if (Interlocked.Decrement(ref _holders) > 0)
        {
            return;
        }

        ArrayPool<byte>.Shared.Return(Array);
        Array = [];
        lock (SpareBuffers)
        {
            if (SpareBuffers.Count < MaxSpare)
            {
                SpareBuffers.Push(this);
            }
        }
    }
}
