using System.Diagnostics.Metrics;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.InPod;

/// <summary>Whether a pod that the agent told of has its proxy.</summary>
internal enum PodState
{
    /// <summary>Its proxy could not be started yet; it is tried again.</summary>
    Pending,

    /// <summary>Its proxy runs.</summary>
    Up,
}

/// <summary>The proxies of the pods of this node, kept as the CNI agent wants them (ztunnel §12.3). Not thread-safe but for reading: one caller at a time.</summary>
/// <remarks>A connection that is lost changes nothing: the proxies go on, and the next connection begins with a snapshot that they are held against.</remarks>
internal sealed class WorkloadProxyManager : IAsyncDisposable
{
    private readonly Func<WorkloadInfo, NetworkNamespace, IWorkloadProxy> _start;
    private readonly Action<WorkloadInfo> _lastGone;
    private readonly ILogger _logger;
    private readonly Counter<long> _started;
    private readonly Counter<long> _stopped;

    // Who reads the pods (the admin pages, metrics) does not wait for who changes them.
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Pod> _pods = [];
    private readonly HashSet<string> _snapshot = [];
    private bool _hasSnapshot;

    /// <param name="start">Starts the proxy of a pod in its network namespace.</param>
    /// <param name="lastGone">Told when the last pod of a service account is gone.</param>
    /// <param name="meters">Where its instruments are made.</param>
    /// <param name="logger">Where it speaks.</param>
    public WorkloadProxyManager(Func<WorkloadInfo, NetworkNamespace, IWorkloadProxy> start, Action<WorkloadInfo> lastGone, IMeterFactory meters, ILogger logger)
    {
        _start = start;
        _lastGone = lastGone;
        _logger = logger;
        var meter = meters.Create(ZtunnelMetrics.MeterName);
        _started = meter.CreateCounter<long>("workload_manager_proxies_started", description: "The total number of proxies started (unstable)");
        _stopped = meter.CreateCounter<long>("workload_manager_proxies_stopped", description: "The total number of proxies stopped (unstable)");
        meter.CreateObservableGauge("workload_manager_active_proxy_count", () => Count(PodState.Up), description: "The number of proxies that run (unstable)");
        meter.CreateObservableGauge("workload_manager_pending_proxy_count", () => Count(PodState.Pending), description: "The number of proxies that could not be started yet (unstable)");
    }

    /// <summary>Whether the agent's snapshot is here and every pod has its proxy.</summary>
    public bool IsReady => Volatile.Read(ref _hasSnapshot) && Count(PodState.Pending) == 0;

    /// <summary>The pods, by UID.</summary>
    public IReadOnlyList<(string Uid, PodState State, WorkloadInfo Info, IWorkloadProxy? Proxy)> Pods
    {
        get
        {
            lock (_gate)
            {
                return [.. _pods.Select(pair => (pair.Key, pair.Value.Proxy is null ? PodState.Pending : PodState.Up, pair.Value.Info, pair.Value.Proxy))];
            }
        }
    }

    /// <summary>A new connection begins: what it says comes in place of what the last one said.</summary>
    public async Task BeginAsync()
    {
        _snapshot.Clear();
        Volatile.Write(ref _hasSnapshot, false);
        foreach (var uid in _pods.Where(pair => pair.Value.Proxy is null).Select(pair => pair.Key).ToList())
        {
            await RemoveAsync(uid);
        }
    }

    /// <summary>A pod came, or is still here. Takes over the namespace.</summary>
    /// <returns>Why its proxy does not run; null when it does.</returns>
    public async Task<string?> AddAsync(string uid, WorkloadInfo info, NetworkNamespace ns)
    {
        if (!_hasSnapshot)
        {
            _snapshot.Add(uid);
        }

        if (_pods.TryGetValue(uid, out var known))
        {
            if (known.Namespace.Id == ns.Id && known.Proxy is not null)
            {
                ns.Dispose();
                return null;
            }

            // The pod was made anew under its old name; nothing of the old one is left to talk to.
            await RemoveAsync(uid);
        }

        var pod = new Pod(info, ns);
        lock (_gate)
        {
            _pods[uid] = pod;
        }

        return Start(uid, pod);
    }

    /// <summary>A pod is still here, and the agent has no namespace of it at hand.</summary>
    /// <exception cref="CniProtocolException">The snapshot is over.</exception>
    public void Keep(string uid)
    {
        if (_hasSnapshot)
        {
            throw new CniProtocolException($"the CNI agent wants pod {uid} kept after its snapshot, which it may only before");
        }

        _snapshot.Add(uid);
    }

    /// <summary>A pod is gone.</summary>
    public async Task DeleteAsync(string uid)
    {
        if (_hasSnapshot)
        {
            await RemoveAsync(uid);
            return;
        }

        // Its proxy ends with the snapshot, which it is not in.
        _snapshot.Remove(uid);
        if (_pods.TryGetValue(uid, out var pod) && pod.Proxy is null)
        {
            await RemoveAsync(uid);
        }
    }

    /// <summary>The agent has told of all pods: proxies of others end.</summary>
    /// <exception cref="CniProtocolException">It has told before.</exception>
    public async Task EndSnapshotAsync()
    {
        if (_hasSnapshot)
        {
            throw new CniProtocolException("the CNI agent ends its snapshot a second time");
        }

        await Task.WhenAll(_pods.Keys.Where(uid => !_snapshot.Contains(uid)).ToList().Select(RemoveAsync));

        _snapshot.Clear();
        Volatile.Write(ref _hasSnapshot, true);
    }

    /// <summary>Tries to start the proxies that could not be started.</summary>
    public void RetryPending()
    {
        foreach (var (uid, pod) in _pods.Where(pair => pair.Value.Proxy is null).ToList())
        {
            Start(uid, pod);
        }
    }

    /// <summary>Ends all proxies, each when its connections have ended, or at the deadline.</summary>
    public async Task StopAsync(CancellationToken deadline)
    {
        await Task.WhenAll(_pods.Values.Where(pod => pod.Proxy is not null).Select(pod => pod.Proxy!.StopAsync(deadline)));
        await DisposeAsync();
    }

    public async ValueTask DisposeAsync() => await Task.WhenAll(_pods.Keys.ToList().Select(RemoveAsync));

    private string? Start(string uid, Pod pod)
    {
        try
        {
            var proxy = _start(pod.Info, pod.Namespace);
            lock (_gate)
            {
                pod.Proxy = proxy;
            }

            _started.Add(1);
            _logger.PodAdded(uid, pod.Info);
            return null;
        }
        catch (Exception e)
        {
            // Whatever it is: one pod's trouble must not be that of the node.
            _logger.PodPending(uid, pod.Info, e.Message);
            return e.Message;
        }
    }

    private async Task RemoveAsync(string uid)
    {
        Pod? pod;
        lock (_gate)
        {
            if (!_pods.Remove(uid, out pod))
            {
                return;
            }
        }

        try
        {
            if (pod.Proxy is { } proxy)
            {
                await proxy.DisposeAsync();
                _stopped.Add(1);
                _logger.PodRemoved(uid, pod.Info);
            }
        }
        finally
        {
            pod.Namespace.Dispose();
        }

        lock (_gate)
        {
            if (_pods.Values.Any(other => other.Info.Namespace == pod.Info.Namespace && other.Info.ServiceAccount == pod.Info.ServiceAccount))
            {
                return;
            }
        }

        _lastGone(pod.Info);
    }

    private int Count(PodState state)
    {
        lock (_gate)
        {
            return _pods.Values.Count(pod => (pod.Proxy is null) == (state is PodState.Pending));
        }
    }

    private sealed class Pod(WorkloadInfo info, NetworkNamespace ns)
    {
        public WorkloadInfo Info => info;

        public NetworkNamespace Namespace => ns;

        public IWorkloadProxy? Proxy { get; set; }
    }
}
