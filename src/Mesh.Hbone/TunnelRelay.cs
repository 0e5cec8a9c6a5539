using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Transport;

namespace Mesh.Hbone;

/// <summary>How many octets a relay has carried. Read at any time; written by the relay.</summary>
public sealed class RelayCounters
{
    private long _toTunnel;
    private long _fromTunnel;

    /// <summary>Octets from the application into the tunnel.</summary>
    public long ToTunnel => Interlocked.Read(ref _toTunnel);

    /// <summary>Octets from the tunnel to the application.</summary>
    public long FromTunnel => Interlocked.Read(ref _fromTunnel);

    internal void AddToTunnel(long count) => Interlocked.Add(ref _toTunnel, count);

    internal void AddFromTunnel(long count) => Interlocked.Add(ref _fromTunnel, count);
}

/// <summary>Carries octets between an application's connection and a tunnel, or another connection, both ways, until both directions have ended.</summary>
/// <remarks>Each direction ends by itself: the end of what one side sends is passed on, and the other direction goes on (ztunnel §2.8).</remarks>
public static class TunnelRelay
{
    // A quiet direction holds a small buffer; one that fills it gets larger ones.
    private const int SmallBuffer = 4 * 1024;
    private const int LargeBuffer = Http2Connection.BatchSize - FrameHeader.Size;

    private const string PeerTakesNoMore = "the peer takes no more";

    /// <summary>Relays until both directions have ended, or one has failed.</summary>
    /// <exception cref="IOException">A direction failed: <see cref="HboneException"/> from the tunnel's side, another from the application's.</exception>
    /// <exception cref="OperationCanceledException">The relay was to end before the directions did.</exception>
    public static async Task RunAsync(TransportConnection application, HboneTunnel tunnel, RelayCounters counters, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(application);
        ArgumentNullException.ThrowIfNull(tunnel);
        ArgumentNullException.ThrowIfNull(counters);
        if (tunnel.Loop is { } loop)
        {
            // What one side brings for the other is carried on the thread that brings it; with one thread for both, no other is woken.
            (application.Stream as PolledStream)?.MoveTo(loop);
        }

        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var upStopped = CancellationTokenSource.CreateLinkedTokenSource(failed.Token);

        // A peer that has reset the tunnel takes nothing more, whether the application has something to say or not.
        // The other direction is left alone, for what came before the reset is still delivered.
        tunnel.CancelOnReset(upStopped);
        try
        {
            var up = UpAsync(application, tunnel.Output, counters, upStopped.Token, failed.Token);
            await BothAsync(up, DownAsync(tunnel.Input, application, counters, failed.Token), failed);
            if (!await up)
            {
                throw tunnel.ConnectionFailure as IOException ?? new IOException(PeerTakesNoMore);
            }
        }
        catch (IOException e) when (e is not HboneException && e.InnerException is SocketException)
        {
            // CANCEL, which is what giving up says, the other end takes for an end like any other (ztunnel §2.8).
            tunnel.AbortAsReset();
            throw;
        }
        finally
        {
            tunnel.CancelOnReset(null);
        }
    }

    /// <summary>Relays between two plain connections; the second one counts as the tunnel.</summary>
    /// <exception cref="IOException">A direction failed.</exception>
    /// <exception cref="OperationCanceledException">The relay was to end before the directions did.</exception>
    public static async Task RunAsync(TransportConnection application, TransportConnection remote, RelayCounters counters, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(application);
        ArgumentNullException.ThrowIfNull(remote);
        ArgumentNullException.ThrowIfNull(counters);
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await BothAsync(
            PlainAsync(application, remote, counters.AddToTunnel, failed.Token),
            PlainAsync(remote, application, counters.AddFromTunnel, failed.Token),
            failed);
    }

    // When one direction fails, the other has nothing to wait for.
    private static async Task BothAsync(Task first, Task second, CancellationTokenSource failed)
    {
        var ended = await Task.WhenAny(first, second);
        try
        {
            await ended;
            await (ended == first ? second : first);
        }
        catch
        {
            await failed.CancelAsync();
            await Task.WhenAll(first, second).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
    }

    // False when the peer takes no more: why, the other direction or the connection says.
    private static async Task<bool> UpAsync(TransportConnection application, PipeWriter output, RelayCounters counters, CancellationToken stopped, CancellationToken failed)
    {
        var size = SmallBuffer;
        var turn = EventLoop.Budget.OfOctets;
        var polled = application.Stream as IPolledStream;
        try
        {
            while (true)
            {
                // Who is idle holds no buffer. A stream that cannot be polled waits when it is asked for nothing.
                _ = await (polled?.WaitForEventAsync(stopped) ?? application.Stream.ReadAsync(Memory<byte>.Empty, stopped));
                var buffer = output.GetMemory(size);
                int read;
                if (polled is null)
                {
                    read = await application.Stream.ReadAsync(buffer, stopped);
                }
                else if (!polled.TryRead(buffer.Span, out read))
                {
                    output.Advance(0);
                    continue;
                }

                if (read == 0)
                {
                    output.Advance(0);
                    await output.CompleteAsync();
                    return true;
                }

                size = read == buffer.Length ? LargeBuffer : read < SmallBuffer ? SmallBuffer : size;
                counters.AddToTunnel(read);
                output.Advance(read);
                var flushed = await output.FlushAsync(stopped);
                if (flushed.IsCompleted)
                {
                    return false;
                }

                if (turn.IsUsedUp(read))
                {
                    await EventLoop.YieldAsync();
                }
            }
        }
        catch (Exception) when (stopped.IsCancellationRequested && !failed.IsCancellationRequested)
        {
            return false;
        }
    }

    private static async Task DownAsync(PipeReader input, TransportConnection application, RelayCounters counters, CancellationToken failed)
    {
        var turn = EventLoop.Budget.OfOctets;
        while (true)
        {
            var result = await input.ReadAsync(failed);
            var length = (int)result.Buffer.Length;
            if (!result.Buffer.IsSingleSegment)
            {
                await WritePiecesAsync(application.Stream, result.Buffer, counters, failed);
            }
            else if (length > 0)
            {
                await application.Stream.WriteAsync(result.Buffer.First, failed);
                counters.AddFromTunnel(length);
            }

            input.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                application.ShutdownSend();
                return;
            }

            if (turn.IsUsedUp(length))
            {
                await EventLoop.YieldAsync();
            }
        }
    }

    // Apart, for most come in one piece and need not keep where they are.
    private static async ValueTask WritePiecesAsync(Stream stream, ReadOnlySequence<byte> octets, RelayCounters counters, CancellationToken failed)
    {
        foreach (var piece in octets)
        {
            await stream.WriteAsync(piece, failed);
            counters.AddFromTunnel(piece.Length);
        }
    }

    private static async Task PlainAsync(TransportConnection from, TransportConnection to, Action<long> count, CancellationToken cancellationToken)
    {
        var size = SmallBuffer;
        var turn = EventLoop.Budget.OfOctets;
        while (true)
        {
            _ = await from.Stream.ReadAsync(Memory<byte>.Empty, cancellationToken);
            using var buffer = MemoryPool<byte>.Shared.Rent(size);
            var read = await from.Stream.ReadAsync(buffer.Memory, cancellationToken);
            if (read == 0)
            {
                to.ShutdownSend();
                return;
            }

            size = read == buffer.Memory.Length ? LargeBuffer : read < SmallBuffer ? SmallBuffer : size;
            await to.Stream.WriteAsync(buffer.Memory[..read], cancellationToken);
            count(read);
            if (turn.IsUsedUp(read))
            {
                await EventLoop.YieldAsync();
            }
        }
    }
}
