using Google.Protobuf.Collections;
using Mesh.Core.Workloads;
using Mesh.Xds.Grpc;
using Mesh.Xds.Protos;
using NamespacedHostname = Mesh.Core.Workloads.NamespacedHostname;
using NetworkAddress = Mesh.Core.Workloads.NetworkAddress;

namespace Mesh.Xds.Server;

/// <summary>A client that asks for workloads and services by name; it gets those of its own node unasked, and the endpoints of the services that it has.</summary>
internal sealed class OnDemandStream(Catalog catalog, MeshState state, ControlPlaneClient client, int maxNames) : TypeStream(catalog)
{
    // By the name that was asked for. Null while there is no such thing.
    private readonly Dictionary<string, string?> _asked = [];
    private readonly HashSet<string> _toAnswer = [];

    // What the client has, under which version.
    private readonly Dictionary<string, string> _held = [];
    private readonly HashSet<NamespacedHostname> _services = [];

    // What the next response holds, by name.
    private readonly Dictionary<string, Resource> _sending = [];
    private bool _hasBegun;

    public override void Subscribe(DeltaDiscoveryRequest request)
    {
        foreach (var name in request.ResourceNamesUnsubscribe.Where(name => _asked.Remove(name)))
        {
            _toAnswer.Remove(name);
        }

        foreach (var (name, version) in request.InitialResourceVersions)
        {
            Ask(name);
            if (version.Length > 0)
            {
                _held[name] = version;
            }
        }

        foreach (var name in request.ResourceNamesSubscribe.Where(name => name != "*"))
        {
            Ask(name);
        }
    }

    protected override (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Compose()
    {
        var response = new DeltaDiscoveryResponse();
        var mesh = state.Current;
        var (now, changed) = Catalog.Since(Sequence);
        IEnumerable<string> candidates = _hasBegun && changed is not null ? changed : [.. now.Resources.Keys, .. _held.Keys];
        if (_hasBegun && changed is { Count: 0 } && _toAnswer.Count == 0)
        {
            return null;
        }

        // Those of the node come in the beginning too, unasked.
        Sequence = now.Sequence;
        foreach (var name in _toAnswer)
        {
            Answer(name, now, mesh, response.RemovedResources);
        }

        _toAnswer.Clear();
        foreach (var name in candidates)
        {
            Follow(name, now, response.RemovedResources);
        }

        response.Resources.Add(_sending.Values);
        _sending.Clear();
        var isFirst = !_hasBegun;
        _hasBegun = true;
        return isFirst || response.Resources.Count + response.RemovedResources.Count > 0 ? (response, default) : null;
    }

    private void Ask(string name)
    {
        if (_asked.Count >= maxNames)
        {
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"one stream may ask for {maxNames} names");
        }

        _asked.TryAdd(name, null);
        _toAnswer.Add(name);
    }

    private void Answer(string name, CatalogSnapshot now, MeshSnapshot mesh, RepeatedField<string> removed)
    {
        var found = Find(name, mesh).Where(now.Resources.ContainsKey).ToList();
        _asked[name] = found.FirstOrDefault();
        if (found.Count == 0)
        {
            _held.Remove(name);
            removed.Add(name);
            return;
        }

        foreach (var resource in found)
        {
            Send(now.Resources[resource], resource == name ? null : name);
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

    private void Send(Served served, string? alias)
    {
        if (alias is null && _held.GetValueOrDefault(served.Name) == served.Version)
        {
            return;
        }

        _held[served.Name] = served.Version;
        var resource = _sending.GetValueOrDefault(served.Name, served.Resource);
        if (alias is not null)
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
        if (!now.Resources.TryGetValue(name, out var served))
        {
            if (_held.Remove(name))
            {
                removed.Add(name);
                _services.RemoveWhere(service => service.ToString() == name);
                foreach (var asked in _asked.Where(one => one.Value == name).Select(one => one.Key).ToList())
                {
                    _asked[asked] = null;
                }
            }

            return;
        }

        if (served.Model?.Names.Prepend(name).FirstOrDefault(one => _asked.TryGetValue(one, out var foundAs) && foundAs is null) is { } wanted)
        {
            _asked[wanted] = name;
            Send(served, wanted == name ? null : wanted);
            return;
        }

        var workload = served.Model?.Workload;
        if (_held.ContainsKey(name) || (workload is not null && ((client.Node is not null && workload.Node == client.Node) || workload.Services.Keys.Any(_services.Contains))))
        {
            Send(served, null);
        }
    }
}
