using System.Text;
using Mesh.Core.Workloads;

namespace Mesh.Hbone;

/// <summary>What a workload tells its peer of itself, for telemetry: the <c>baggage</c> header (ztunnel §2.3, §2.4; W3C Baggage).</summary>
public sealed record Baggage
{
    /// <summary>The header's name.</summary>
    public const string HeaderName = "baggage";

    // Enough for any workload; what is over it is not read.
    private const int MaxMembers = 64;

    // The longest name of Kubernetes; what is longer describes no workload, and telemetry would keep it.
    private const int MaxValue = 253;

    /// <summary>The cluster.</summary>
    public string? ClusterName { get; init; }

    /// <summary>The namespace.</summary>
    public string? NamespaceName { get; init; }

    /// <summary>The kind of the controller.</summary>
    public WorkloadType WorkloadType { get; init; }

    /// <summary>The controller's name.</summary>
    public string? WorkloadName { get; init; }

    /// <summary>The application's name.</summary>
    public string? ServiceName { get; init; }

    /// <summary>The application's version.</summary>
    public string? ServiceVersion { get; init; }

    /// <summary>The region.</summary>
    public string? Region { get; init; }

    /// <summary>The zone.</summary>
    public string? Zone { get; init; }

    /// <summary>Describes a workload.</summary>
    public static Baggage Of(Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        return new Baggage
        {
            ClusterName = workload.ClusterId,
            NamespaceName = workload.Namespace,
            WorkloadType = workload.WorkloadType,
            WorkloadName = workload.WorkloadName,
            ServiceName = workload.CanonicalName,
            ServiceVersion = workload.CanonicalRevision,
            Region = workload.Locality.Region,
            Zone = workload.Locality.Zone,
        };
    }

    /// <summary>Reads all lines of the header; of a key that stands several times the last value counts. Never fails: what is not understood is passed over.</summary>
    public static Baggage Parse(IEnumerable<string> lines)
    {
        ArgumentNullException.ThrowIfNull(lines);
        var baggage = new Baggage();
        var members = 0;
        foreach (var line in lines)
        {
            foreach (var range in line.AsSpan().Split(','))
            {
                var member = line.AsSpan()[range];
                var equals = member.IndexOf('=');
                if (equals < 0)
                {
                    continue;
                }

                if (++members > MaxMembers)
                {
                    return baggage;
                }

                var value = member[(equals + 1)..].Trim();
                if (value.Length <= MaxValue)
                {
                    baggage = baggage.With(member[..equals].Trim(), value.IsEmpty ? null : value.ToString());
                }
            }
        }

        return baggage;
    }

    /// <summary>The header's value; empty members are left out.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        Append(text, "k8s.cluster.name", ClusterName);
        Append(text, "k8s.namespace.name", NamespaceName);
        Append(text, $"k8s.{Word(WorkloadType)}.name", WorkloadName);
        Append(text, "service.name", ServiceName);
        Append(text, "service.version", ServiceVersion);
        Append(text, "cloud.region", Region);
        Append(text, "cloud.availability_zone", Zone);
        return text.ToString();
    }

    private static string Word(WorkloadType type) => type switch
    {
        WorkloadType.CronJob => "cronjob",
        WorkloadType.Pod => "pod",
        WorkloadType.Job => "job",
        _ => "deployment",
    };

    private static void Append(StringBuilder text, string key, string? value)
    {
        if (!string.IsNullOrEmpty(value) && HboneHeaders.IsValue(value) && !value.Contains(',', StringComparison.Ordinal))
        {
            text.Append(text.Length > 0 ? "," : "").Append(key).Append('=').Append(value);
        }
    }

    private Baggage With(ReadOnlySpan<char> key, string? value) => key switch
    {
        "k8s.cluster.name" => this with { ClusterName = value },
        "k8s.namespace.name" => this with { NamespaceName = value },
        "k8s.deployment.name" => this with { WorkloadName = value, WorkloadType = WorkloadType.Deployment },
        "k8s.cronjob.name" => this with { WorkloadName = value, WorkloadType = WorkloadType.CronJob },
        "k8s.pod.name" => this with { WorkloadName = value, WorkloadType = WorkloadType.Pod },
        "k8s.job.name" => this with { WorkloadName = value, WorkloadType = WorkloadType.Job },
        "service.name" => this with { ServiceName = value },
        "service.version" => this with { ServiceVersion = value },
        "cloud.region" => this with { Region = value },
        "cloud.availability_zone" => this with { Zone = value },
        _ => this,
    };
}
