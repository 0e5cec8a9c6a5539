using System.Diagnostics.Metrics;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Mesh.Xds.Client;
using Mesh.Xds.Workloads;
using Mesh.Ztunnel.Admin;
using Mesh.Ztunnel.Dns;
using Mesh.Ztunnel.InPod;
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
    IMeterFactory meters,
    TimeProvider time,
    Random random,
    IHostApplicationLifetime lifetime,
    ILoggerFactory loggers,
    LogLevels? logLevels = null) : IHostedService, IAsyncDisposable
{
    private readonly ILogger _logger = loggers.CreateLogger<ZtunnelService>();
    private readonly DnsMetrics _dnsMetrics = new(meters.Create(ZtunnelMetrics.MeterName));
    private readonly Lock _readinessGate = new();
    private readonly List<WorkloadProxy> _proxies = [];
    private LocalConfigurationFile? _configuration;
    private XdsClient? _controlPlane;
    private XdsSubscription<MeshAddress>? _onDemand;
    private NodeCertificates? _nodeCertificates;
    private RevocationFile? _revocations;
    private OwnCertificates? _ownCertificates;
    private ReadinessServer? _readiness;
    private AdminServers? _admin;
    private WorkloadProxyManager? _pods;
    private CniClient? _cni;
    private SelfProxy? _self;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var settings = options.Value;
        _readiness = await ReadinessServer.StartAsync(settings, loggers, cancellationToken);
        _readiness.Set(ReadinessGate.DnsProxy, isPassed: !settings.DnsProxyEnabled);
        _admin = await AdminServers.StartAsync(AdminContext(), cancellationToken);
        if (settings.LocalXdsPath is { } path)
        {
            _configuration = LocalConfigurationFile.Open(path, state, time, loggers.CreateLogger<LocalConfigurationFile>());
        }

        if (settings.LocalXds is { } text)
        {
            LocalConfiguration.Parse(text, nameof(settings.LocalXds)).ApplyTo(state);
        }

        if (settings.RevocationListPath is { } revocations)
        {
            _revocations = new RevocationFile(revocations, certificates.TrustBundle, time, loggers.CreateLogger<RevocationFile>());
            _ownCertificates = new OwnCertificates(certificates, loggers.CreateLogger<OwnCertificates>());
        }

        if (settings is { Mode: ProxyMode.Shared, NodeName: { } node })
        {
            _nodeCertificates = new NodeCertificates(node, state, certificates);
        }

        await FollowControlPlaneAsync(settings, cancellationToken);
        _readiness.Set(ReadinessGate.StateManager, isPassed: true);
        if (settings.Mode is ProxyMode.Shared)
        {
            await StartSharedAsync(settings, cancellationToken);
        }
        else
        {
            StartDedicated(settings);
        }

        _readiness.Set(ReadinessGate.Proxy, isPassed: true);
        _readiness.Set(ReadinessGate.DnsProxy, isPassed: true);
        _logger.Ready();
    }

    /// <summary>Accepts no more; open connections go on until they end or the deadline comes (ztunnel §14).</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        // What the CNI agent says now is for the next ztunnel.
        await (_cni?.DisposeAsync() ?? default);
        _logger.Draining(Proxies.Sum(proxy => proxy.Connections.Length), options.Value.TerminationDeadline);
        using var deadline = new CancellationTokenSource(options.Value.TerminationDeadline, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        await Task.WhenAll([.. _proxies.Select(proxy => proxy.StopAsync(either.Token)), _pods?.StopAsync(either.Token) ?? Task.CompletedTask, _self?.StopAsync(either.Token) ?? Task.CompletedTask]);
        await DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await (_cni?.DisposeAsync() ?? default);
        await Task.WhenAll(_proxies.Select(proxy => proxy.DisposeAsync().AsTask()));
        await (_pods?.DisposeAsync() ?? default);
        await (_self?.DisposeAsync() ?? default);
        _proxies.Clear();
        _nodeCertificates?.Dispose();
        await (_controlPlane?.DisposeAsync() ?? default);
        await (_configuration?.DisposeAsync() ?? default);
        await (_revocations?.DisposeAsync() ?? default);
        _ownCertificates?.Dispose();
        await (_admin?.DisposeAsync() ?? default);
        await (_readiness?.DisposeAsync() ?? default);
        _nodeCertificates = null;
        _controlPlane = null;
        _onDemand = null;
        _revocations = null;
        _ownCertificates = null;
        _admin = null;
        _cni = null;
        _pods = null;
        _self = null;
        _configuration = null;
        _readiness = null;
    }

    private IEnumerable<IWorkloadProxy> Proxies => [.. _proxies, .. _pods?.Pods.Select(pod => pod.Proxy).OfType<IWorkloadProxy>() ?? []];

    private AdminContext AdminContext() =>
        new(options.Value, state, certificates, accessLog, metrics, meters, ProxyStatuses, () => _self?.Connections ?? [], logLevels, lifetime, time, loggers);

    // In dedicated mode there is one proxy for each workload named, in their order, as far as they have started.
    private IReadOnlyList<ProxyStatus> ProxyStatuses() => _pods is { } pods
        ? [.. pods.Pods.Select(pod => new ProxyStatus(pod.Uid, pod.Info, pod.Proxy))]
        : [.. options.Value.Workloads.Zip(_proxies.ToArray(), (workload, proxy) => new ProxyStatus(workload.ToString(), workload, proxy))];

    // Proxies start when the mesh is known: without its policies nothing may be carried. Until then the probe says what is missing.
    private async Task FollowControlPlaneAsync(ZtunnelOptions settings, CancellationToken cancellationToken)
    {
        if (settings.ControlPlane is not { } endpoint)
        {
            return;
        }

        var client = new XdsClient(new XdsClientOptions { Endpoint = endpoint, Node = settings.Node }, time, random, loggers.CreateLogger<XdsClient>(), meters);
        _controlPlane = client;
        var addresses = new MeshResources(state).SubscribeTo(client, settings.OnDemand);
        _onDemand = settings.OnDemand ? addresses : null;
        _readiness!.Set(ReadinessGate.StateManager, isPassed: false, () => WhyNotReady(client));
        client.Start();
        await client.Ready.WaitAsync(cancellationToken);
    }

    private static string WhyNotReady(XdsClient client)
    {
        var missing = client.Subscriptions.Where(subscription => !subscription.IsReady);
        return client.IsConnected
            ? string.Join("; ", missing.Select(type => $"{type.TypeUrl} has not come{(type.LastRefusal is { } refusal ? $" without faults: {refusal}" : "")}"))
            : $"no stream from the control plane: {client.LastError ?? "connecting"}";
    }

    private void StartDedicated(ZtunnelOptions settings)
    {
        foreach (var workload in settings.Workloads)
        {
            TellUnknown(workload, settings);
            _proxies.Add(new WorkloadProxy(Context(workload, transport)));
            _logger.Listening(
                workload,
                (workload.ListenAddress ?? settings.ListenAddress)?.ToString() ?? "all addresses",
                settings.HbonePort,
                settings.InboundPassthroughPort,
                settings.OutboundPort,
                settings.Socks5Enabled ? settings.Socks5Port.ToString() : "off");
        }
    }

    private void TellUnknown(WorkloadInfo workload, ZtunnelOptions settings)
    {
        if (state.Current.FindWorkload(workload.Namespace, workload.Name, workload.ServiceAccount, settings.NodeName) is null)
        {
            _logger.WorkloadUnknown(workload, settings.NodeName ?? "any node");
        }
    }

    private async Task StartSharedAsync(ZtunnelOptions settings, CancellationToken cancellationToken)
    {
        await CheckCapabilitiesAsync(settings, cancellationToken);
        _readiness!.Set(ReadinessGate.WorkloadProxyManager, isPassed: false);
        if (settings.Self is { } self)
        {
            _self = new SelfProxy(Context(self with { IsOurselves = true }, transport), settings.Wildcard);
        }

        _pods = new WorkloadProxyManager(
            (workload, ns) =>
            {
                TellUnknown(workload, settings);
                return new WorkloadProxy(Context(workload, new NamespaceTransportFactory(ns, settings.Sockets)));
            },
            ForgetCertificate, meters, loggers.CreateLogger<WorkloadProxyManager>());
        _cni = new CniClient(settings.CniSocketPath, _pods, OnReadinessChanged, time, loggers.CreateLogger<CniClient>());
        _ = WatchAsync(_cni);
    }

    private void OnReadinessChanged()
    {
        if (_cni is { } cni)
        {
            // Together, so that an older look does not come after a newer one.
            lock (_readinessGate)
            {
                _readiness?.Set(ReadinessGate.WorkloadProxyManager, cni.IsReady);
            }
        }
    }

    // A node has keys of the workloads that run on it, and of no others (ztunnel §3.6).
    private void ForgetCertificate(WorkloadInfo gone)
    {
        foreach (var status in certificates.Status.Where(status => status.Identity.Namespace == gone.Namespace && status.Identity.ServiceAccount == gone.ServiceAccount))
        {
            certificates.Forget(status.Identity);
        }
    }

    // An agent that speaks another language than we do cannot be served; whoever runs us starts us anew.
    private async Task WatchAsync(CniClient cni)
    {
        try
        {
            await cni.Completion;
        }
        catch (Exception e)
        {
            _logger.CniBroken(e.Message);
            Environment.ExitCode = 1;
            lifetime.StopApplication();
        }
    }

    // Better no start than pods that have no proxy (ztunnel §12.3).
    private static async Task CheckCapabilitiesAsync(ZtunnelOptions settings, CancellationToken cancellationToken)
    {
        try
        {
            await NetworkNamespace.PrepareAsync(cancellationToken);
            new SocketTransportFactory(settings.Sockets).BindDatagram(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 0)).Dispose();
        }
        catch (IOException e)
        {
            throw new IOException($"shared mode needs the capabilities CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW: {e.Message}", e);
        }
    }

    private ProxyContext Context(WorkloadInfo workload, TransportFactory sockets) =>
        new(workload, options.Value, state, certificates, sockets, accessLog, metrics, _dnsMetrics, time, random, loggers, _onDemand);
}
