namespace Mesh.Xds.Client;

/// <summary>Settings of <see cref="XdsClient"/>.</summary>
public sealed class XdsClientOptions
{
    /// <summary>The control plane.</summary>
    public required ControlPlaneEndpoint Endpoint { get; init; }

    /// <summary>What the client says of itself.</summary>
    public required XdsNode Node { get; init; }

    /// <summary>The wait after a first failure; it doubles with each further one. Default 10 ms (ztunnel §5.7).</summary>
    public TimeSpan InitialBackoff { get; init; } = TimeSpan.FromMilliseconds(10);

    /// <summary>The longest wait after a failure. Default 15 s.</summary>
    public TimeSpan MaxBackoff { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>The share by which a wait may be shorter, at random. 0 to 1; default 0.2.</summary>
    public double BackoffJitter { get; init; } = 0.2;

    /// <summary>The longest message that is taken, in octets. Default 200 MiB (ztunnel §5.1).</summary>
    public int MaxMessageSize { get; init; } = 200 * 1024 * 1024;

    /// <summary>How long <see cref="XdsSubscription{T}.DemandAsync"/> waits for the server. Default 5 s.</summary>
    public TimeSpan DemandTimeout { get; init; } = TimeSpan.FromSeconds(5);

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(InitialBackoff, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxBackoff, InitialBackoff);
        ArgumentOutOfRangeException.ThrowIfNegative(BackoffJitter);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(BackoffJitter, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxMessageSize, 1024);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(DemandTimeout, TimeSpan.Zero);
    }
}
