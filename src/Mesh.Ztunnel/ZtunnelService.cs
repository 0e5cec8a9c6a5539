using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Admin;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Mesh.Ztunnel;

/// <summary>The life of a ztunnel: state first, then the proxies, then readiness; and the same backwards.</summary>
internal sealed class ZtunnelService(
    IOptions<ZtunnelOptions> options,
    MeshState state,
    WorkloadCertificates certificates,
    TransportFactory transport,
    AccessLog accessLog,
    ZtunnelMetrics metrics,
    TimeProvider time,
    Random random,
    ILoggerFactory loggers) : IHostedService, IAsyncDisposable
{
    private readonly ILogger _logger = loggers.CreateLogger<ZtunnelService>();
    private readonly List<WorkloadProxy> _proxies = [];
    private LocalConfigurationFile? _configuration;
    private ReadinessServer? _readiness;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var settings = options.Value;
        _readiness = await ReadinessServer.StartAsync(settings, loggers, cancellationToken);
        if (settings.LocalXdsPath is { } path)
        {
            _configuration = LocalConfigurationFile.Open(path, state, time, loggers.CreateLogger<LocalConfigurationFile>());
        }

        _readiness.Pass(ReadinessGate.StateManager);
        foreach (var workload in settings.Workloads)
        {
            if (state.Current.FindWorkload(workload.Namespace, workload.Name, workload.ServiceAccount, settings.NodeName) is null)
            {
                _logger.WorkloadUnknown(workload, settings.NodeName ?? "any node");
            }

            _proxies.Add(new WorkloadProxy(new ProxyContext(workload, settings, state, certificates, transport, accessLog, metrics, time, random, loggers)));
            _logger.Listening(
                workload,
                (workload.ListenAddress ?? settings.ListenAddress)?.ToString() ?? "all addresses",
                settings.HbonePort,
                settings.InboundPassthroughPort,
                settings.OutboundPort,
                settings.Socks5Enabled ? settings.Socks5Port.ToString() : "off");
        }

        _readiness.Pass(ReadinessGate.Proxy);
        _logger.Ready();
    }

    /// <summary>Accepts no more; open connections go on until they end or the deadline comes (ztunnel §14).</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        _logger.Draining(_proxies.Sum(proxy => proxy.OpenConnections), options.Value.TerminationDeadline);
        using var deadline = new CancellationTokenSource(options.Value.TerminationDeadline, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        await Task.WhenAll(_proxies.Select(proxy => proxy.StopAsync(either.Token)));
        await DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(_proxies.Select(proxy => proxy.DisposeAsync().AsTask()));
        _proxies.Clear();
        await (_configuration?.DisposeAsync() ?? default);
        await (_readiness?.DisposeAsync() ?? default);
        _configuration = null;
        _readiness = null;
    }
}
