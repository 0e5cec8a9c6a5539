namespace Mesh.Core.Workloads;

/// <summary>How clients are to treat a service at L4, which Istio's ztunnel has no words for; the names are those of Istio's DestinationRule where it has them.</summary>
public sealed record L4TrafficPolicy
{
    /// <summary>How long connecting to an endpoint may take; null for the proxy's own bound.</summary>
    public TimeSpan? ConnectTimeout { get; init; }

    /// <summary>How many further endpoints are tried when one cannot be connected to. Default 0.</summary>
    public int ConnectRetries { get; init; }

    /// <summary>How many connections a client's proxy may have open at once; further ones are refused. Null for no limit.</summary>
    public int? MaxConnections { get; init; }

    /// <summary>How many connections a client's proxy may open each second, with a burst of as many; further ones are refused. Null for no limit.</summary>
    public int? ConnectionsPerSecond { get; init; }

    /// <summary>When endpoints that cannot be connected to are left out for a while; null for never.</summary>
    public OutlierDetection? OutlierDetection { get; init; }
}

/// <summary>When endpoints that cannot be connected to are left out for a while.</summary>
/// <param name="ConsecutiveLocalOriginFailures">How many times in a row connecting must have failed. At least 1.</param>
/// <param name="BaseEjectionTime">How long an endpoint is left out the first time; the n-th time in a row n times as long, up to ten times.</param>
/// <param name="MaxEjectionPercent">How many of the endpoints may be left out at once, in percent; one always may, unless it is the only one. 0 to 100.</param>
public sealed record OutlierDetection(int ConsecutiveLocalOriginFailures, TimeSpan BaseEjectionTime, int MaxEjectionPercent);
