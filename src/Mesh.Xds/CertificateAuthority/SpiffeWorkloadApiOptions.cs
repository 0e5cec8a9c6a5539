namespace Mesh.Xds.CertificateAuthority;

/// <summary>Settings of <see cref="SpiffeWorkloadApi"/>.</summary>
public sealed class SpiffeWorkloadApiOptions
{
    /// <summary>The agent, as <c>SPIFFE_ENDPOINT_SOCKET</c> names it: <c>unix:///path</c> or <c>tcp://IP:PORT</c> (SPIFFE Workload Endpoint, section 4).</summary>
    public required string Endpoint { get; init; }

    /// <summary>How long <see cref="SpiffeWorkloadApi.IssueAsync"/> waits for an agent that has not answered yet. Default 10 seconds.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The wait after a first failure of the stream; it doubles with each further one. Default one second.</summary>
    public TimeSpan InitialBackoff { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait after a failure. Default 30 seconds.</summary>
    public TimeSpan MaxBackoff { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The share by which a wait may be shorter, at random. 0 to 1; default 0.2.</summary>
    public double BackoffJitter { get; init; } = 0.2;

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(Timeout, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(InitialBackoff, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxBackoff, InitialBackoff);
        ArgumentOutOfRangeException.ThrowIfNegative(BackoffJitter);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(BackoffJitter, 1);
    }
}
