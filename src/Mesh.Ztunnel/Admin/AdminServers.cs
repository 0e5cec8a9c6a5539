using System.Diagnostics.Metrics;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>A workload that the ztunnel acts for, and its proxy.</summary>
/// <param name="Uid">The pod's UID; in dedicated mode the workload's name.</param>
/// <param name="Info">What is known of the workload.</param>
/// <param name="Proxy">Its proxy; null while it could not be started.</param>
internal sealed record ProxyStatus(string Uid, WorkloadInfo Info, IWorkloadProxy? Proxy)
{
    /// <summary>Up or Pending, as Istio's tools call it.</summary>
    public string State => Proxy is null ? "Pending" : "Up";
}

/// <summary>What the servers beside the traffic look at.</summary>
/// <param name="Options">The options.</param>
/// <param name="State">The mesh.</param>
/// <param name="Certificates">The certificates.</param>
/// <param name="AccessLog">Tells of connections.</param>
/// <param name="Metrics">The instruments of connections.</param>
/// <param name="Meters">Where all instruments are made.</param>
/// <param name="Proxies">The workloads and their proxies as they are now.</param>
/// <param name="OwnConnections">Connections to the ztunnel itself, which belong to no workload's proxy.</param>
/// <param name="LogLevels">What is logged; null when that is the business of the program around.</param>
/// <param name="Lifetime">By which the program is asked to end.</param>
/// <param name="Time">The clock.</param>
/// <param name="Loggers">Where they speak.</param>
internal sealed record AdminContext(
    ZtunnelOptions Options,
    MeshState State,
    WorkloadCertificates Certificates,
    AccessLog AccessLog,
    ZtunnelMetrics Metrics,
    IMeterFactory Meters,
    Func<IReadOnlyList<ProxyStatus>> Proxies,
    Func<TrackedConnection[]> OwnConnections,
    LogLevels? LogLevels,
    IHostApplicationLifetime Lifetime,
    TimeProvider Time,
    ILoggerFactory Loggers)
{
    /// <summary>All connections that are open now.</summary>
    public IEnumerable<TrackedConnection> Connections => [.. Proxies().SelectMany(status => status.Proxy?.Connections ?? []), .. OwnConnections()];
}

/// <summary>The servers beside the traffic, as far as the options want them.</summary>
internal sealed class AdminServers : IAsyncDisposable
{
    private MetricsExposition? _metrics;
    private StatsServer? _stats;
    private ConnectionHistory? _history;
    private AdminServer? _admin;

    private AdminServers()
    {
    }

    /// <exception cref="IOException">A port cannot be had.</exception>
    public static async Task<AdminServers> StartAsync(AdminContext context, CancellationToken cancellationToken)
    {
        var servers = new AdminServers();
        try
        {
            if (context.Options.StatsPort is not null)
            {
                servers._metrics = new MetricsExposition(context.Meters, context.State, context.Time, context.Loggers.CreateLogger<MetricsExposition>());
                servers._stats = await StatsServer.StartAsync(context.Options, servers._metrics, () => CountBytes(context), context.Time, context.Loggers, cancellationToken);
            }

            if (context.Options.AdminPort is not null)
            {
                servers._history = new ConnectionHistory(context.AccessLog, context.Time);
                servers._admin = await AdminServer.StartAsync(context, servers._history, cancellationToken);
            }

            return servers;
        }
        catch
        {
            await servers.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await (_admin?.DisposeAsync() ?? default);
        _history?.Dispose();
        await (_stats?.DisposeAsync() ?? default);
        _metrics?.Dispose();
    }

    // A connection that has been open for days has been counted all along.
    private static void CountBytes(AdminContext context)
    {
        foreach (var connection in context.Connections)
        {
            if (connection.Record is { } record)
            {
                context.Metrics.CountBytes(record);
            }
        }
    }
}
