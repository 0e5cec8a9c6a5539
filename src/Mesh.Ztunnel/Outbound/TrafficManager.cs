using System.Collections.Concurrent;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Outbound;

/// <summary>Keeps to what services ask of their clients: limits on connections, and endpoints left out that cannot be connected to. One for each proxy.</summary>
/// <remarks>A service that asks for nothing costs nothing here.</remarks>
internal sealed class TrafficManager(TimeProvider time)
{
    private const int MaxEjectionFactor = 10;

    private readonly ConcurrentDictionary<NamespacedHostname, ServiceLoad> _loads = new();
    private readonly ConcurrentDictionary<string, EndpointHealth> _health = new();

    /// <summary>Admits one connection to a service; dispose the result when it has ended.</summary>
    /// <exception cref="LimitReachedException">A limit is reached; the message says which.</exception>
    public IDisposable? Admit(Service? service)
    {
        if (service?.TrafficPolicy is not { } policy || (policy.MaxConnections is null && policy.ConnectionsPerSecond is null))
        {
            return null;
        }

        var load = _loads.GetOrAdd(service.Key, static (_, time) => new ServiceLoad(time), time);
        load.Admit(service.Key, policy);
        return load;
    }

    /// <summary>Says why an endpoint must not be chosen now; null when no endpoint is left out at all.</summary>
    /// <param name="tried">The UIDs of those that were tried for this connection already.</param>
    public Func<Workload, string?>? Excluded(IReadOnlySet<string>? tried)
    {
        if (_health.IsEmpty && tried is null)
        {
            return null;
        }

        var now = time.GetUtcNow();
        return workload => tried?.Contains(workload.Uid) is true
            ? "it was tried already"
            : _health.TryGetValue(workload.Uid, out var health) && health.EjectedUntil > now
                ? $"it is left out until {health.EjectedUntil:HH:mm:ss}, for connecting to it failed {health.Failures} times in a row"
                : null;
    }

    /// <summary>Connecting to an endpoint succeeded: what it failed before is forgotten.</summary>
    public void Succeeded(Workload endpoint) => _health.TryRemove(endpoint.Uid, out _);

    /// <summary>Connecting to an endpoint failed.</summary>
    /// <returns>Whether it is left out from now on.</returns>
    public bool Failed(MeshSnapshot mesh, Service? service, Workload endpoint)
    {
        if (service?.TrafficPolicy?.OutlierDetection is not { } detection)
        {
            return false;
        }

        var now = time.GetUtcNow();
        Forget(mesh);
        var health = _health.AddOrUpdate(
            endpoint.Uid,
            static (_, _) => new EndpointHealth(1, 0, default),
            static (_, old, _) => old with { Failures = old.Failures + 1 },
            detection);
        if (health.EjectedUntil > now || health.Failures < detection.ConsecutiveConnectFailures || !MayEject(mesh, service, detection, now))
        {
            return false;
        }

        var ejections = Math.Min(health.Ejections + 1, MaxEjectionFactor);
        return _health.TryUpdate(endpoint.Uid, health with { Ejections = ejections, EjectedUntil = now + (detection.BaseEjectionTime * ejections) }, health);
    }

    private bool MayEject(MeshSnapshot mesh, Service service, OutlierDetection detection, DateTimeOffset now)
    {
        var endpoints = mesh.EndpointsOf(service.Key);
        var ejected = _health.Count(pair => pair.Value.EjectedUntil > now && endpoints.ContainsKey(pair.Key));
        return ejected == 0 || (ejected + 1) * 100 <= endpoints.Count * detection.MaxEjectionPercent;
    }

    // So that endpoints that are gone are not remembered for ever.
    private void Forget(MeshSnapshot mesh)
    {
        foreach (var uid in _health.Keys)
        {
            if (mesh.FindWorkload(uid) is null)
            {
                _health.TryRemove(uid, out _);
            }
        }
    }

    private readonly record struct EndpointHealth(int Failures, int Ejections, DateTimeOffset EjectedUntil);

    /// <summary>The connections to one service. Disposing it ends one of them.</summary>
    private sealed class ServiceLoad(TimeProvider time) : IDisposable
    {
        private readonly Lock _gate = new();
        private int _open;
        private double _tokens = double.MaxValue;
        private long _filled = time.GetTimestamp();

        public void Admit(NamespacedHostname service, L4TrafficPolicy policy)
        {
            lock (_gate)
            {
                if (_open >= policy.MaxConnections)
                {
                    throw new LimitReachedException($"service {service} may have {policy.MaxConnections} connections from here at once, and has them");
                }

                if (policy.ConnectionsPerSecond is { } rate)
                {
                    var now = time.GetTimestamp();
                    _tokens = Math.Min(rate, _tokens + (time.GetElapsedTime(_filled, now).TotalSeconds * rate));
                    _filled = now;
                    if (_tokens < 1)
                    {
                        throw new LimitReachedException($"service {service} may have {rate} new connections a second from here, and has them");
                    }

                    _tokens--;
                }

                _open++;
            }
        }

        public void Dispose()
        {
            lock (_gate)
            {
                _open--;
            }
        }
    }
}
