namespace Mesh.Ztunnel;

/// <summary>Randomness for all connections at once; <see cref="Random"/> itself is for one thread.</summary>
internal sealed class SharedRandom : Random
{
    private readonly Lock _gate = new();
    private readonly Random _random = new();

    public override int Next(int minValue, int maxValue)
    {
        lock (_gate)
        {
            return _random.Next(minValue, maxValue);
        }
    }

    public override long NextInt64(long maxValue)
    {
        lock (_gate)
        {
            return _random.NextInt64(maxValue);
        }
    }

    public override void NextBytes(Span<byte> buffer)
    {
        lock (_gate)
        {
            _random.NextBytes(buffer);
        }
    }

    public override void NextBytes(byte[] buffer) => NextBytes(buffer.AsSpan());

    protected override double Sample()
    {
        lock (_gate)
        {
            return _random.NextDouble();
        }
    }
}
