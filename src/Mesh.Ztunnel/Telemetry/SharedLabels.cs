namespace Mesh.Ztunnel.Telemetry;

/// <summary>The labels of connections between the same ends, made once: most connections are like one before them. Thread-safe.</summary>
/// <param name="make">Makes them.</param>
internal sealed class SharedLabels(Func<ConnectionEnds, KeyValuePair<string, object?>[]> make)
{
    private readonly RecentValues<ConnectionEnds, KeyValuePair<string, object?>[]> _recent = new(256, make);

    /// <summary>The labels of a connection that has not failed. Whoever is refused does not get to have something kept.</summary>
    public KeyValuePair<string, object?>[] Of(in ConnectionEnds ends) => ends.WasOpened ? _recent.Get(ends) : make(ends);
}
