using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Mesh.Xds.Client;
using Mesh.Xds.Workloads;
using Mesh.Ztunnel.Dns;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>What the parts of a proxy share.</summary>
internal sealed record ProxyContext(
    WorkloadInfo Workload,
    ZtunnelOptions Options,
    MeshState State,
    WorkloadCertificates Certificates,
    TransportFactory Transport,
    AccessLog AccessLog,
    ZtunnelMetrics Metrics,
    DnsMetrics DnsMetrics,
    TimeProvider Time,
    Random Random,
    ILoggerFactory Loggers,
    XdsSubscription<MeshAddress>? OnDemand = null)
{
    /// <summary>What our workload and its peers say of themselves.</summary>
    public KnownBaggage Baggage { get; } = new();

    /// <summary>The record of our workload; waits for it to appear in the state, as long as is allowed (ztunnel §0).</summary>
    /// <exception cref="WorkloadUnknownException">It did not appear.</exception>
    public async ValueTask<Workload> LocalWorkloadAsync(CancellationToken cancellationToken)
    {
        if (Find() is { } known)
        {
            return known;
        }

        var appeared = new TaskCompletionSource<Workload>(TaskCreationOptions.RunContinuationsAsynchronously);
        EventHandler<MeshChange> look = (_, _) =>
        {
            if (Find() is { } found)
            {
                appeared.TrySetResult(found);
            }
        };
        State.Changed += look;
        try
        {
            // It may have come between the first look and the subscription.
            look(null, null!);
            return await appeared.Task.WaitAsync(Options.WorkloadTimeout, Time, cancellationToken);
        }
        catch (TimeoutException e)
        {
            throw new WorkloadUnknownException($"failed to fetch information about local workload {Workload}: it is not in the mesh's state", e);
        }
        finally
        {
            State.Changed -= look;
        }
    }

    private Workload? Find() => State.Current.FindWorkload(Workload.Namespace, Workload.Name, Workload.ServiceAccount, Options.NodeName);
}

/// <summary>The mesh does not know the workload that a proxy acts for.</summary>
internal sealed class WorkloadUnknownException(string message, Exception innerException) : Exception(message, innerException);
