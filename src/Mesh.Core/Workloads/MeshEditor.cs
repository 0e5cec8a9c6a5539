using System.Collections.Immutable;
using Mesh.Core.Policy;

namespace Mesh.Core.Workloads;

/// <summary>Collects changes to a <see cref="MeshState"/>; all become visible together. For the length of one <see cref="MeshState.Update"/>, by one thread.</summary>
public sealed class MeshEditor
{
    private readonly MeshSnapshot _before;
    private readonly ImmutableDictionary<string, Workload>.Builder _workloadsByUid;
    private readonly ImmutableDictionary<NetworkAddress, ImmutableArray<string>>.Builder _uidsByAddress;
    private readonly ImmutableDictionary<WorkloadName, ImmutableArray<string>>.Builder _uidsByName;
    private readonly ImmutableDictionary<NamespacedHostname, ImmutableArray<string>>.Builder _uidsByHostname;
    private readonly ImmutableDictionary<NamespacedHostname, ServiceEndpoints>.Builder _endpoints;
    private readonly Dictionary<NamespacedHostname, ImmutableDictionary<string, Workload>.Builder> _editedEndpoints = [];
    private readonly ImmutableDictionary<NamespacedHostname, Service>.Builder _servicesByKey;
    private readonly ImmutableDictionary<NetworkAddress, ImmutableArray<Service>>.Builder _servicesByVip;
    private readonly ImmutableDictionary<string, ImmutableArray<Service>>.Builder _servicesByHostname;
    private readonly ImmutableDictionary<string, PrefixTree<Service>>.Builder _servicesByRange;
    private readonly Dictionary<string, L4Authorization> _policies = [];
    private readonly HashSet<string> _removedPolicies = [];
    private readonly HashSet<string> _touchedWorkloads = [];
    private readonly HashSet<NamespacedHostname> _touchedServices = [];
    private readonly IComparer<string> _byPreference;

    internal MeshEditor(MeshSnapshot before)
    {
        _before = before;
        _byPreference = Comparer<string>.Create((one, other) =>
            Preference(_workloadsByUid![one]).CompareTo(Preference(_workloadsByUid[other])) is not 0 and var difference ? difference : string.CompareOrdinal(one, other));
        _workloadsByUid = before.WorkloadsByUid.ToBuilder();
        _uidsByAddress = before.UidsByAddress.ToBuilder();
        _uidsByName = before.UidsByName.ToBuilder();
        _uidsByHostname = before.UidsByHostname.ToBuilder();
        _endpoints = before.Endpoints.ToBuilder();
        _servicesByKey = before.ServicesByKey.ToBuilder();
        _servicesByVip = before.ServicesByVip.ToBuilder();
        _servicesByHostname = before.ServicesByHostname.ToBuilder();
        _servicesByRange = before.ServicesByRange.ToBuilder();
    }

    internal MeshKeys Changed => new(_touchedWorkloads, _touchedServices, _policies.Keys.Union(_removedPolicies));

    /// <summary>Adds a workload, or replaces the one with its UID.</summary>
    public void Upsert(Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        var before = _workloadsByUid.GetValueOrDefault(workload.Uid);
        _workloadsByUid[workload.Uid] = workload;
        _touchedWorkloads.Add(workload.Uid);
        if (before is null)
        {
            Index(workload);
        }
        else
        {
            if (!IsFoundAlike(before, workload))
            {
                Unindex(before);
                Index(workload);
            }

            foreach (var service in before.Services.Keys)
            {
                if (!workload.Services.ContainsKey(service))
                {
                    EndpointsOf(service).Remove(workload.Uid);
                }
            }
        }

        foreach (var service in workload.Services.Keys)
        {
            EndpointsOf(service)[workload.Uid] = workload;
        }
    }

    /// <summary>Removes a workload.</summary>
    /// <returns>False when there is none with this UID.</returns>
    public bool RemoveWorkload(string uid)
    {
        if (!_workloadsByUid.Remove(uid, out var workload))
        {
            return false;
        }

        _touchedWorkloads.Add(uid);
        Unindex(workload);
        foreach (var service in workload.Services.Keys)
        {
            EndpointsOf(service).Remove(uid);
        }

        return true;
    }

    /// <summary>Adds a service, or replaces the one with its key. Its endpoints are the workloads that name it, whichever came first.</summary>
    public void Upsert(Service service)
    {
        ArgumentNullException.ThrowIfNull(service);
        RemoveService(service.Key);
        _servicesByKey.Add(service.Key, service);
        _touchedServices.Add(service.Key);
        Add(_servicesByHostname, service.Hostname, service);
        foreach (var vip in service.Vips.Distinct())
        {
            Add(_servicesByVip, vip, service);
        }

        foreach (var vip in service.CidrVips.Distinct())
        {
            _servicesByRange[vip.Network] = _servicesByRange.GetValueOrDefault(vip.Network, PrefixTree<Service>.Empty).Add(vip.Range, service);
        }
    }

    /// <summary>Removes a service.</summary>
    /// <returns>False when there is none with this key.</returns>
    public bool RemoveService(NamespacedHostname key)
    {
        if (!_servicesByKey.Remove(key, out var service))
        {
            return false;
        }

        _touchedServices.Add(key);
        Remove(_servicesByHostname, service.Hostname, service);
        foreach (var vip in service.Vips.Distinct())
        {
            Remove(_servicesByVip, vip, service);
        }

        foreach (var vip in service.CidrVips.Distinct())
        {
            var left = _servicesByRange[vip.Network].Remove(vip.Range, service);
            if (left.IsEmpty)
            {
                _servicesByRange.Remove(vip.Network);
            }
            else
            {
                _servicesByRange[vip.Network] = left;
            }
        }

        return true;
    }

    /// <summary>Adds a policy, or replaces the one with its key.</summary>
    public void Upsert(L4Authorization policy)
    {
        ArgumentNullException.ThrowIfNull(policy);
        _policies[policy.Key] = policy;
    }

    /// <summary>Removes a policy, by <c>namespace/name</c>.</summary>
    /// <returns>False when there is none with this key.</returns>
    public bool RemovePolicy(string key)
    {
        var added = _policies.Remove(key);
        return (_before.Policies.TryGet(key, out _) && _removedPolicies.Add(key)) || added;
    }

    internal MeshSnapshot ToSnapshot()
    {
        foreach (var (service, endpoints) in _editedEndpoints)
        {
            if (endpoints.Count > 0)
            {
                _endpoints[service] = new ServiceEndpoints(endpoints.ToImmutable());
            }
            else
            {
                _endpoints.Remove(service);
            }
        }

        return new MeshSnapshot
        {
            WorkloadsByUid = _workloadsByUid.ToImmutable(),
            UidsByAddress = _uidsByAddress.ToImmutable(),
            UidsByName = _uidsByName.ToImmutable(),
            UidsByHostname = _uidsByHostname.ToImmutable(),
            Endpoints = _endpoints.ToImmutable(),
            ServicesByKey = _servicesByKey.ToImmutable(),
            ServicesByVip = _servicesByVip.ToImmutable(),
            ServicesByHostname = _servicesByHostname.ToImmutable(),
            ServicesByRange = _servicesByRange.ToImmutable(),
            Policies = _policies.Count + _removedPolicies.Count == 0 ? _before.Policies : _before.Policies.With(_policies.Values, _removedPolicies),
        };
    }

    // What is found first does not depend on what came first.
    private void Index(Workload workload)
    {
        AddUid(_uidsByName, NameOf(workload), workload.Uid, StringComparer.Ordinal);
        if (workload.Hostname.Length > 0)
        {
            AddUid(_uidsByHostname, HostnameOf(workload), workload.Uid, StringComparer.Ordinal);
        }

        foreach (var address in AddressesOf(workload))
        {
            AddUid(_uidsByAddress, address, workload.Uid, _byPreference);
        }
    }

    private void Unindex(Workload workload)
    {
        Remove(_uidsByName, NameOf(workload), workload.Uid);
        if (workload.Hostname.Length > 0)
        {
            Remove(_uidsByHostname, HostnameOf(workload), workload.Uid);
        }

        foreach (var address in AddressesOf(workload))
        {
            Remove(_uidsByAddress, address, workload.Uid);
        }
    }

    private static bool IsFoundAlike(Workload one, Workload other) =>
        NameOf(one) == NameOf(other)
        && one.Hostname == other.Hostname
        && one.Network == other.Network
        && one.NetworkMode == other.NetworkMode
        && one.Addresses.SequenceEqual(other.Addresses)
        && Preference(one) == Preference(other);

    private static WorkloadName NameOf(Workload workload) => new(workload.Namespace, workload.Name);

    private static NamespacedHostname HostnameOf(Workload workload) => new(workload.Namespace, workload.Hostname);

    private static IEnumerable<NetworkAddress> AddressesOf(Workload workload) => workload.NetworkMode is NetworkMode.HostNetwork
        ? []
        : workload.Addresses.Select(address => new NetworkAddress(workload.Network, address)).Distinct();

    // ztunnel §5.8: several workloads on one address.
    private static int Preference(Workload workload) =>
        (workload.Uid.Contains("//Pod/", StringComparison.Ordinal) ? 0 : 2) + (workload.Protocol is TunnelProtocol.Hbone ? 0 : 1);

    private static void AddUid<TKey>(ImmutableDictionary<TKey, ImmutableArray<string>>.Builder index, TKey key, string uid, IComparer<string> order)
        where TKey : notnull => index[key] = index.TryGetValue(key, out var others) ? others.Add(uid).Sort(order) : [uid];

    private static void Add<TKey, TValue>(ImmutableDictionary<TKey, ImmutableArray<TValue>>.Builder index, TKey key, TValue value)
        where TKey : notnull => index[key] = index.GetValueOrDefault(key, []).Add(value);

    private static void Remove<TKey, TValue>(ImmutableDictionary<TKey, ImmutableArray<TValue>>.Builder index, TKey key, TValue value)
        where TKey : notnull
    {
        var left = index[key].Remove(value);
        if (left.IsEmpty)
        {
            index.Remove(key);
        }
        else
        {
            index[key] = left;
        }
    }

    private ImmutableDictionary<string, Workload>.Builder EndpointsOf(NamespacedHostname service)
    {
        if (!_editedEndpoints.TryGetValue(service, out var endpoints))
        {
            endpoints = _endpoints.GetValueOrDefault(service, ServiceEndpoints.None).ByUid.ToBuilder();
            _editedEndpoints.Add(service, endpoints);
        }

        return endpoints;
    }
}
