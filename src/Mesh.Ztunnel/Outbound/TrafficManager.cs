using System.Collections.Concurrent;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Outbound;

/// <summary>Keeps to what services ask of their clients: limits on connections, and endpoints left out that cannot be connected to. One for each proxy.</summary>
/// <remarks>A service that asks for nothing costs nothing here.</remarks>
internal sealed class TrafficManager(TimeProvider time)
{
    private const int MaxEjectionFactor = 10;

    private readonly ConcurrentDictionary<NamespacedHostname, ServiceLoad> _loads = new();
    private readonly ConcurrentDictionary<(NamespacedHostname Service, string Endpoint), EndpointHealth> _health = new();

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
    public Func<Service, Workload, string?>? Excluded(IReadOnlySet<string>? tried)
    {
        var now = time.GetTimestamp();
        if (tried is null && !_health.Any(pair => pair.Value.IsEjected(now)))
        {
            return null;
        }

        return (service, workload) => tried?.Contains(workload.Uid) is true
            ? "it was tried already"
            : _health.TryGetValue((service.Key, workload.Uid), out var health) && health.IsEjected(now)
                ? $"it is left out for another {time.GetElapsedTime(now, health.EjectedUntil).TotalSeconds:F0} s, for connecting to it failed {health.Failures} times in a row"
                : null;
    }

    /// <summary>Connecting to an endpoint of a service succeeded: what it failed before is forgotten.</summary>
    public void Succeeded(Service? service, Workload endpoint)
    {
        if (service?.TrafficPolicy?.OutlierDetection is not null)
        {
            _health.TryRemove((service.Key, endpoint.Uid), out _);
        }
    }

    /// <summary>Connecting to an endpoint of a service failed. Waypoints and gateways on the way to it are not its endpoints, and never left out.</summary>
    /// <returns>Whether it is left out from now on.</returns>
    public bool Failed(MeshSnapshot mesh, Service? service, Workload endpoint)
    {
        if (service?.TrafficPolicy?.OutlierDetection is not { } detection || !mesh.EndpointsOf(service.Key).ContainsKey(endpoint.Uid))
        {
            return false;
        }

        var now = time.GetTimestamp();
        var key = (service.Key, endpoint.Uid);
        Forget(mesh);
        var health = _health.AddOrUpdate(key, static _ => new EndpointHealth(1, 0, long.MinValue), static (_, old) => old with { Failures = old.Failures + 1 });
        if (health.IsEjected(now) || health.Failures < detection.ConsecutiveLocalOriginFailures || !MayEject(mesh, service, detection, now))
        {
            return false;
        }

        var ejections = Math.Min(health.Ejections + 1, MaxEjectionFactor);
        var until = now + (long)(detection.BaseEjectionTime.TotalSeconds * ejections * time.TimestampFrequency);
        return _health.TryUpdate(key, health with { Ejections = ejections, EjectedUntil = until }, health);
    }

    private bool MayEject(MeshSnapshot mesh, Service service, OutlierDetection detection, long now)
    {
        var ejected = _health.Count(pair => pair.Key.Service == service.Key && pair.Value.IsEjected(now));
        var endpoints = mesh.EndpointsOf(service.Key).Count;

        // The last one stays: an endpoint that may fail is better than none.
        return endpoints > ejected + 1 && (ejected == 0 || (ejected + 1) * 100 <= endpoints * detection.MaxEjectionPercent);
    }

    // So that endpoints that are gone are not remembered for ever.
    private void Forget(MeshSnapshot mesh)
    {
        foreach (var key in _health.Keys)
        {
            if (!mesh.EndpointsOf(key.Service).ContainsKey(key.Endpoint))
            {
                _health.TryRemove(key, out _);
            }
        }

        foreach (var service in _loads.Keys)
        {
            if (mesh.FindService(service) is null)
            {
                _loads.TryRemove(service, out _);
            }
        }
    }

    /// <param name="Failures">How many times in a row connecting has failed.</param>
    /// <param name="Ejections">How many times in a row it was left out.</param>
    /// <param name="EjectedUntil">Until when, by the clock's timestamp.</param>
    private readonly record struct EndpointHealth(int Failures, int Ejections, long EjectedUntil)
    {
        public bool IsEjected(long now) => EjectedUntil > now;
    }

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
