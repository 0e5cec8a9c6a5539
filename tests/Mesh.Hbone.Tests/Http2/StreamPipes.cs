using Mesh.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Hbone.Http2;

/// <summary>A stream of a connection that was never started, so that the test is the connection: it appends what comes and takes what is to be sent.</summary>
internal static class StreamPipes
{
    public static Http2Stream Make(bool inlineCompletions)
    {
        var options = new HboneOptions { InlineCompletions = inlineCompletions };
        return new Http2Stream(new Http2Connection(Stream.Null, isServer: true, options, new FakeTimeProvider(), NullLogger.Instance), 1, options);
    }

    /// <summary>What stands at a place of the octets follows from the place.</summary>
    public static byte At(long place) => (byte)(place % 251);

    public static void Fill(Span<byte> octets, long from)
    {
        for (var i = 0; i < octets.Length; i++)
        {
            octets[i] = At(from + i);
        }
    }

    public static void Check(ReadOnlySpan<byte> octets, long from)
    {
        for (var i = 0; i < octets.Length; i++)
        {
            if (octets[i] != At(from + i))
            {
                throw new InvalidDataException($"octet {from + i} is {octets[i]}, not {At(from + i)}");
            }
        }
    }

    /// <summary>Whether it ends: at once where the completion is inline, soon where it goes through the pool.</summary>
    public static bool Ends(Task task) => SpinWait.SpinUntil(() => task.IsCompleted, Eventually.Bound);
}
