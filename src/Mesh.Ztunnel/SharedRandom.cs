namespace Mesh.Ztunnel;

/// <summary>Dice that all connections throw, at once if they like; <see cref="Random"/> itself is for one thread.</summary>
internal sealed class SharedRandom : Random
{
    private readonly Lock _gate = new();
    private readonly Random _dice = new();

    public override int Next(int minValue, int maxValue)
    {
        lock (_gate)
        {
            return _dice.Next(minValue, maxValue);
        }
    }

    public override long NextInt64(long maxValue)
    {
        lock (_gate)
        {
            return _dice.NextInt64(maxValue);
        }
    }

    protected override double Sample()
    {
        lock (_gate)
        {
            return _dice.NextDouble();
        }
    }
}
