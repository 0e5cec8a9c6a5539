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
        if (EventLoop.Current is { } loop)
        {
            // Where the tunnel has been opened, what comes through it is read as well.
            (application.Stream as PolledStream)?.MoveTo(loop);
        }

        var cut = false;
        try
        {
            await BothAsync(
                async token => cut = await UpUntilResetAsync(application, tunnel, counters, token),
                token => DownAsync(tunnel.Input, application, counters.AddFromTunnel, token),
                cancellationToken);
        }
        catch (IOException e) when (e is not HboneException && e.InnerException is SocketException)
        {
            // CANCEL, which is what giving up says, the other end takes for an end like any other (ztunnel §2.8).
            tunnel.AbortAsReset();
            throw;
        }

        if (cut)
        {
            throw tunnel.ConnectionFailure as IOException ?? new IOException(PeerTakesNoMore);
        }
    }

    /// <summary>Relays between two plain connections; the second one counts as the tunnel.</summary>
    /// <exception cref="IOException">A direction failed.</exception>
    /// <exception cref="OperationCanceledException">The relay was to end before the directions did.</exception>
    public static Task RunAsync(TransportConnection application, TransportConnection remote, RelayCounters counters, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(application);
        ArgumentNullException.ThrowIfNull(remote);
        ArgumentNullException.ThrowIfNull(counters);
        return BothAsync(
            token => PlainAsync(application, remote, counters.AddToTunnel, token),
            token => PlainAsync(remote, application, counters.AddFromTunnel, token),
            cancellationToken);
    }

    // When one direction fails, the other has nothing to wait for.
    private static async Task BothAsync(Func<CancellationToken, Task> up, Func<CancellationToken, Task> down, CancellationToken cancellationToken)
    {
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var first = up(failed.Token);
        var second = down(failed.Token);
        var ended = await Task.WhenAny(first, second);
        if (!ended.IsCompletedSuccessfully)
        {
            await failed.CancelAsync();
        }

        var other = ended == first ? second : first;
        try
        {
            await ended;
            await other;
        }
        catch
        {
            await failed.CancelAsync();
            await Task.WhenAll(first, second).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
    }

    // A peer that has reset the tunnel takes nothing more, whether the application has something to say or not: true then.
    // The other direction is left alone, for what came before the reset is still delivered.
    private static async Task<bool> UpUntilResetAsync(TransportConnection application, HboneTunnel tunnel, RelayCounters counters, CancellationToken cancellationToken)
    {
        using var reset = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var up = UpAsync(application, tunnel.Output, counters, reset.Token);
        if (await Task.WhenAny(up, tunnel.WhenReset) == up)
        {
            await up;
            return false;
        }

        await reset.CancelAsync();
        await up.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        cancellationToken.ThrowIfCancellationRequested();
        return !up.IsCompletedSuccessfully;
    }

    private static async Task UpAsync(TransportConnection application, PipeWriter output, RelayCounters counters, CancellationToken cancellationToken)
    {
        var size = SmallBuffer;
        var turn = EventLoop.Budget.OfOctets;
        var polled = application.Stream as IPolledStream;
        while (true)
        {
            // Who is idle holds no buffer. A stream that cannot be polled waits when it is asked for nothing.
            _ = await (polled?.WaitForEventAsync(cancellationToken) ?? application.Stream.ReadAsync(Memory<byte>.Empty, cancellationToken));
            var buffer = output.GetMemory(size);
            int read;
            if (polled is null)
            {
                read = await application.Stream.ReadAsync(buffer, cancellationToken);
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
                return;
            }

            size = read == buffer.Length ? LargeBuffer : read < SmallBuffer ? SmallBuffer : size;
            counters.AddToTunnel(read);
            output.Advance(read);
            var flushed = await output.FlushAsync(cancellationToken);
            if (flushed.IsCompleted)
            {
                throw new IOException(PeerTakesNoMore);
            }

            if (turn.IsUsedUp(read))
            {
                await EventLoop.YieldAsync();
            }
        }
    }

    private static async Task DownAsync(PipeReader input, TransportConnection application, Action<long> count, CancellationToken cancellationToken)
    {
        var turn = EventLoop.Budget.OfOctets;
        while (true)
        {
            var result = await input.ReadAsync(cancellationToken);
            var length = (int)result.Buffer.Length;
            foreach (var segment in result.Buffer)
            {
                // The end comes alone.
                if (!segment.IsEmpty)
                {
                    await application.Stream.WriteAsync(segment, cancellationToken);
                    count(segment.Length);
                }
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

    private static async Task PlainAsync(TransportConnection from, TransportConnection to, Action<long> count, CancellationToken cancellationToken)
    {
        var size = SmallBuffer;
        var turn = EventLoop.Budget.OfOctets;
        while (true)
        {
            _ = await from.Stream.ReadAsync(Memory<byte>.Empty, cancellationToken);
            using var buffer = System.Buffers.MemoryPool<byte>.Shared.Rent(size);
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
