using System.Net;

namespace Mesh.Ztunnel.Dns;

/// <summary>How the DNS proxy of a workload behaves (ztunnel §11).</summary>
public sealed class DnsProxyOptions
{
    /// <summary>The domain of the Kubernetes cluster, under which host names are completed. Default <c>cluster.local</c>.</summary>
    public string ClusterDomain { get; set; } = "cluster.local";

    /// <summary>
    /// The domains that a client's resolver may have put behind a name, and that are taken off to find it. Null for those of a pod: its namespace's, those of
    /// all services, the cluster's. Default null.
    /// </summary>
    public IReadOnlyList<string>? SearchDomains { get; set; }

    /// <summary>The namespace whose service goes before others of the same host name, but behind the client's own and the canonical one; null for none.</summary>
    public string? PreferredServiceNamespace { get; set; }

    /// <summary>Whether names of the mesh have IPv6 addresses. Default true.</summary>
    public bool IPv6Enabled { get; set; } = true;

    /// <summary>Where other names are asked for; null for the name servers of this process's <c>/etc/resolv.conf</c>. Default null.</summary>
    public IReadOnlyList<IPEndPoint>? UpstreamServers { get; set; }

    /// <summary>How long the upstream servers may take together. Default 5 seconds.</summary>
    public TimeSpan UpstreamTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a TCP connection may be without a question, and a client may take to read an answer. Default 5 seconds.</summary>
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How long what is under way may take once the proxy is to stop. Default 5 seconds.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How many questions are worked on at once; a further one is answered SERVFAIL. At least 1; default 1,024.</summary>
    public int MaxConcurrentQueries { get; set; } = 1024;

    /// <summary>How many questions wait for upstream servers at once, each with a socket; a further one is answered SERVFAIL. At least 1; default 256.</summary>
    public int MaxUpstreamQueries { get; set; } = 256;

    /// <summary>How many TCP connections clients may have open; a further one is closed. At least 1; default 128.</summary>
    public int MaxTcpConnections { get; set; } = 128;

    /// <summary>How many answers of upstream servers are kept for their time to live. 0 keeps none; default 4,096.</summary>
    public int MaxCacheEntries { get; set; } = 4096;

    /// <summary>Says what is wrong with the settings; null when nothing is.</summary>
    public string? Validate() =>
        Domain(nameof(ClusterDomain), ClusterDomain)
        ?? SearchDomains?.Select(domain => Domain(nameof(SearchDomains), domain)).FirstOrDefault(error => error is not null)
        ?? Positive(nameof(UpstreamTimeout), UpstreamTimeout)
        ?? Positive(nameof(IdleTimeout), IdleTimeout)
        ?? Positive(nameof(DrainTimeout), DrainTimeout)
        ?? AtLeast(nameof(MaxConcurrentQueries), MaxConcurrentQueries, 1)
        ?? AtLeast(nameof(MaxUpstreamQueries), MaxUpstreamQueries, 1)
        ?? AtLeast(nameof(MaxTcpConnections), MaxTcpConnections, 1)
        ?? AtLeast(nameof(MaxCacheEntries), MaxCacheEntries, 0);

    internal void ThrowIfInvalid()
    {
        if (Validate() is { } error)
        {
            throw new ArgumentException(error);
        }
    }

    private static string? Domain(string name, string value) =>
        DnsName.TryParse(value, out _) ? null : $"{name} is '{value}'; allowed are domain names, labels of 1 to 63 ASCII characters, at most 253 characters in all";

    private static string? AtLeast(string name, int value, int min) => value >= min ? null : $"{name} is {value}; allowed is {min} or more";

    private static string? Positive(string name, TimeSpan value) =>
        value > TimeSpan.Zero && value <= TimeSpan.FromDays(1) ? null : $"{name} is {value}; allowed is more than nothing, up to a day";
}
