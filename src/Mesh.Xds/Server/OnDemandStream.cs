using Google.Protobuf.Collections;
using Mesh.Core.Workloads;
using Mesh.Xds.Protos;
using NamespacedHostname = Mesh.Core.Workloads.NamespacedHostname;
using NetworkAddress = Mesh.Core.Workloads.NetworkAddress;
using Service = Mesh.Core.Workloads.Service;

namespace Mesh.Xds.Server;

/// <summary>A client that asks for workloads and services by name; it gets those of its own node unasked, and the endpoints of the services that it has.</summary>
internal sealed class OnDemandStream(Catalog catalog, MeshState state, ControlPlaneClient client, int maxNames) : TypeStream(catalog)
{
    // By the name that was asked for. Null while there is no such thing.
    private readonly Dictionary<string, string?> _asked = [];
    private readonly Dictionary<string, HashSet<string>> _foundBy = [];
    private readonly HashSet<string> _toAnswer = [];

    // What the client has, under which version.
    private readonly Dictionary<string, string> _held = [];
    private readonly HashSet<NamespacedHostname> _services = [];

    // What the next response holds, by name.
    private readonly Dictionary<string, Resource> _sending = [];
    private bool _isSubscribed;
    private bool _hasBegun;

    public override void Subscribe(DeltaDiscoveryRequest request)
    {
        foreach (var name in request.ResourceNamesUnsubscribe)
        {
            Forget(name);
        }

        // What the client has from streams before; said in the first request. What is too much is sent again.
        foreach (var (name, version) in _isSubscribed ? [] : request.InitialResourceVersions)
        {
            if (version.Length > 0)
            {
                if (_held.Count < maxNames)
                {
                    _held[name] = version;
                }
            }
            else
            {
                Ask(name);
            }
        }

        _isSubscribed = true;
        foreach (var name in request.ResourceNamesSubscribe.Where(name => name != "*"))
        {
            Ask(name);
        }
    }

    protected override (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Compose()
    {
        var (now, changed) = Catalog.Since(Sequence);
        if (_hasBegun && changed is { Count: 0 } && _toAnswer.Count == 0)
        {
            return null;
        }

        // Those of the node come in the beginning too, unasked.
        var response = new DeltaDiscoveryResponse();
        Sequence = now.Sequence;
        foreach (var name in _hasBegun && changed is not null ? changed : (IEnumerable<string>)[.. now.Resources.Keys, .. _held.Keys])
        {
            Follow(name, now, response.RemovedResources);
        }

        var mesh = state.Current;
        foreach (var name in _toAnswer)
        {
            Answer(name, now, mesh, response.RemovedResources);
        }

        _toAnswer.Clear();
        response.Resources.Add(_sending.Values);
        _sending.Clear();
        var isFirst = !_hasBegun;
        _hasBegun = true;
        return isFirst || response.Resources.Count + response.RemovedResources.Count > 0 ? (response, default) : null;
    }

    // A name too many is not answered: the client then refuses the connection, which is better than to be told that there is nothing.
    private void Ask(string name)
    {
        if (_asked.ContainsKey(name) || _asked.Count < maxNames)
        {
            _asked.TryAdd(name, null);
            _toAnswer.Add(name);
        }
    }

    private void Forget(string name)
    {
        _toAnswer.Remove(name);
        if (_asked.Remove(name, out var foundAs) && foundAs is not null)
        {
            _foundBy.GetValueOrDefault(foundAs)?.Remove(name);
        }
    }

    private void Answer(string name, CatalogSnapshot now, MeshSnapshot mesh, RepeatedField<string> removed)
    {
        var found = Find(name, mesh).Where(now.Resources.ContainsKey).ToList();
        if (_asked[name] is { } before)
        {
            _foundBy.GetValueOrDefault(before)?.Remove(name);
        }

        _asked[name] = found.FirstOrDefault();
        if (found.Count == 0)
        {
            _held.Remove(name);
            removed.Add(name);
            return;
        }

        (_foundBy.TryGetValue(found[0], out var names) ? names : _foundBy[found[0]] = []).Add(name);
        foreach (var resource in found)
        {
            Send(now.Resources[resource], resource == name ? null : name, isAsked: true);
        }
    }

    // What an asked name means: itself, or who has the address (ztunnel §5.4).
    private static IEnumerable<string> Find(string name, MeshSnapshot mesh)
    {
        yield return name;
        var slash = name.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0)
        {
            yield break;
        }

        if (NetworkAddress.TryParseAddress(name.AsSpan(slash + 1), out var address))
        {
            var at = new NetworkAddress(name[..slash], address);
            foreach (var service in mesh.ServicesAt(at))
            {
                yield return service.Key.ToString();
            }

            if (mesh.FindWorkload(at) is { } workload)
            {
                yield return workload.Uid;
            }
        }
        else if (mesh.FindWorkload(new NamespacedHostname(name[..slash], name[(slash + 1)..])) is { } named)
        {
            yield return named.Uid;
        }
    }

    private void Send(Served served, string? alias, bool isAsked = false)
    {
        if (!isAsked && _held.GetValueOrDefault(served.Name) == served.Version)
        {
            return;
        }

        _held[served.Name] = served.Version;
        var resource = _sending.GetValueOrDefault(served.Name, served.Resource);
        if (alias is not null && !resource.Aliases.Contains(alias))
        {
            resource = resource.Clone();
            resource.Aliases.Add(alias);
        }

        _sending[served.Name] = resource;
        if (served.Model?.Service is { } service && _services.Add(service.Key))
        {
            foreach (var endpoint in state.Current.EndpointsOf(service.Key).Keys)
            {
                if (Catalog.Current.Resources.TryGetValue(endpoint, out var behind))
                {
                    Send(behind, null);
                }
            }
        }
    }

    // Something has changed: is it the client's?
    private void Follow(string name, CatalogSnapshot now, RepeatedField<string> removed)
    {
        // What was found as this may be another thing now.
        _toAnswer.UnionWith(_foundBy.GetValueOrDefault(name) ?? []);
        if (!now.Resources.TryGetValue(name, out var served))
        {
            if (_held.Remove(name))
            {
                removed.Add(name);
                _services.RemoveWhere(service => service.ToString() == name);
            }

            return;
        }

        _toAnswer.UnionWith(served.Model?.Names.Prepend(name).Where(_asked.ContainsKey) ?? []);
        if (served.Model?.Service is { CidrVips.IsEmpty: false } service)
        {
            _toAnswer.UnionWith(_asked.Keys.Where(asked => Covers(service, asked)));
        }

        var workload = served.Model?.Workload;
        if (_held.ContainsKey(name) || (workload is not null && ((client.Node is not null && workload.Node == client.Node) || workload.Services.Keys.Any(_services.Contains))))
        {
            Send(served, null);
        }
    }

    private static bool Covers(Service service, string asked)
    {
        var slash = asked.IndexOf('/', StringComparison.Ordinal);
        return slash >= 0
            && NetworkAddress.TryParseAddress(asked.AsSpan(slash + 1), out var address)
            && service.CidrVips.Any(vip => vip.Network == asked[..slash] && vip.Range.Contains(address));
    }
}
