using System.IO.Pipelines;
using System.Security.Cryptography;

namespace Mesh.Testing;

/// <summary>How many octets went by, and their SHA-256 in hexadecimal.</summary>
public sealed record OctetSum(long Count, string Sha256)
{
    public override string ToString() => $"{Count} {Sha256}";
}

/// <summary>Moves octets through pipes and sums them up.</summary>
public static class Octets
{
    private const int ChunkSize = 64 * 1024;

    /// <summary>Sends random octets, and, unless told otherwise, the end.</summary>
    public static async Task<OctetSum> SendRandomAsync(this PipeWriter output, long count, int seed, bool complete = true)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var random = new Random(seed);
        var chunk = new byte[ChunkSize];
        for (var left = count; left > 0; left -= ChunkSize)
        {
            var part = chunk.AsMemory(0, (int)Math.Min(left, ChunkSize));
            random.NextBytes(part.Span);
            hash.AppendData(part.Span);
            await output.WriteAsync(part);
        }

        if (complete)
        {
            await output.CompleteAsync();
        }

        return new OctetSum(count, Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    /// <summary>Reads to the end.</summary>
    public static async Task<OctetSum> SumAsync(this PipeReader input)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var count = 0L;
        while (true)
        {
            var result = await input.ReadAsync();
            foreach (var segment in result.Buffer)
            {
                hash.AppendData(segment.Span);
                count += segment.Length;
            }

            input.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                return new OctetSum(count, Convert.ToHexStringLower(hash.GetHashAndReset()));
            }
        }
    }

    /// <summary>Sends back what comes, and the end behind it.</summary>
    public static async Task EchoAsync(this IDuplexPipe pipe)
    {
        while (true)
        {
            var result = await pipe.Input.ReadAsync();
            foreach (var segment in result.Buffer)
            {
                await pipe.Output.WriteAsync(segment);
            }

            pipe.Input.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                await pipe.Output.CompleteAsync();
                return;
            }
        }
    }

    /// <summary>Sends a text.</summary>
    public static async Task SayAsync(this PipeWriter output, string text, bool complete = true)
    {
        await output.WriteAsync(System.Text.Encoding.UTF8.GetBytes(text));
        if (complete)
        {
            await output.CompleteAsync();
        }
    }

    /// <summary>Reads a text to its end.</summary>
    public static async Task<string> HearAsync(this PipeReader input)
    {
        var all = new MemoryStream();
        await input.CopyToAsync(all);
        return System.Text.Encoding.UTF8.GetString(all.ToArray());
    }
}
