namespace Mesh.Xds.Server;

/// <summary>Settings of <see cref="ControlPlane"/>.</summary>
public sealed class ControlPlaneOptions
{
    /// <summary>The longest lifetime of a certificate; who asks for more gets this. Default 24 hours.</summary>
    public TimeSpan MaxCertificateLifetime { get; init; } = TimeSpan.FromHours(24);

    /// <summary>How many streams of discovery may be open at once; further ones are refused. Default 10,000.</summary>
    public int MaxStreams { get; init; } = 10_000;

    /// <summary>How many of them one client may have, by its name; a node has two while one ztunnel follows another. Default 16.</summary>
    public int MaxStreamsPerClient { get; init; } = 16;

    /// <summary>How many requests for certificates one client may have open, by its name; further ones are refused. Default 32; a ztunnel has 8.</summary>
    public int MaxCertificateRequestsPerClient { get; init; } = 32;

    /// <summary>How often it is looked whether the client of an open stream is still known. Default 30 seconds.</summary>
    public TimeSpan AuthenticationInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a client may take nothing of a response; then its stream ends. Default 60 seconds.</summary>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How many names one stream may ask for on demand, and say that it has; further ones are not answered. Default 100,000.</summary>
    public int MaxNames { get; init; } = 100_000;

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxCertificateLifetime, TimeSpan.FromSeconds(2));
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxStreams, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxStreamsPerClient, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxCertificateRequestsPerClient, 1);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(AuthenticationInterval, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(StallTimeout, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxNames, 1);
    }
}
