using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Mesh.Core.Configuration;

/// <summary>Reads the local YAML file into the model. Faults are collected, so that one run shows them all.</summary>
internal sealed partial class LocalConfigurationReader(string file)
{
    // The format has nine levels; what nests deeper is a mistake or an attack on the stack.
    private const int MaxDepth = 32;
    private const int MaxCharacters = 256 * 1024 * 1024;

    private readonly YamlFaults _faults = new(file);
    private readonly Dictionary<string, YamlNode> _uids = [];
    private readonly Dictionary<NamespacedHostname, YamlNode> _serviceKeys = [];
    private readonly Dictionary<string, YamlNode> _policyKeys = [];
    private readonly HashSet<NetworkAddress> _addresses = [];
    private readonly HashSet<NamespacedHostname> _workloadHostnames = [];
    private readonly List<Action> _referenceChecks = [];

    public LocalConfiguration Read(string yaml)
    {
        var result = new LocalConfiguration([], [], []);
        if (Root(yaml) is { } node && YamlMapping.Of(node, "the file", _faults) is { } root)
        {
            result = new LocalConfiguration(
                root.List("workloads", ReadWorkload),
                root.List("services", ReadService),
                root.List("policies", ReadPolicy));
            root.End(extensions: true);
            _referenceChecks.ForEach(check => check());
        }

        return _faults.Any ? throw _faults.ToException() : result;
    }

    private YamlNode? Root(string yaml)
    {
        if (yaml.Length > MaxCharacters)
        {
            _faults.Add(1, 1, $"the file has {yaml.Length} characters; at most {MaxCharacters} are allowed");
            return null;
        }

        var parser = new MarkedParser(yaml);
        try
        {
            if (!IsShallow(parser))
            {
                return null;
            }

            parser = new MarkedParser(yaml);
            var stream = new YamlStream();
            stream.Load(parser);
            if (stream.Documents.Count > 1)
            {
                _faults.Add(stream.Documents[1].RootNode, "the file has more than one document; one is allowed");
            }

            if (stream.Documents.Count > 0 && stream.Documents[0].RootNode is not YamlScalarNode { Value: "" or null })
            {
                return stream.Documents[0].RootNode;
            }

            _faults.Add(1, 1, "the file is empty; a mesh with nothing in it is written 'workloads: []'");
        }
        catch (YamlException e)
        {
            var place = e.Start.Equals(Mark.Empty) ? parser.Place : e.Start;
            _faults.Add(place.Line, place.Column, $"not valid YAML: {e.InnerException?.Message ?? e.Message}");
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException)
        {
            // What the YAML library says here is of use to nobody.
            _faults.Add(parser.Place.Line, parser.Place.Column, "not valid YAML: a bracket, brace or quote is not closed, or stands where it may not");
        }

        return null;
    }

    private bool IsShallow(MarkedParser parser)
    {
        var depth = 0;
        while (parser.MoveNext())
        {
            depth += parser.Current is MappingStart or SequenceStart ? 1 : parser.Current is MappingEnd or SequenceEnd ? -1 : 0;
            if (depth > MaxDepth)
            {
                _faults.Add(parser.Current!.Start.Line, parser.Current.Start.Column, $"nested deeper than {MaxDepth} levels");
                return false;
            }
        }

        return true;
    }

    private Workload? ReadWorkload(YamlNode node)
    {
        if (YamlMapping.Of(node, "a workload", _faults) is not { } map)
        {
            return null;
        }

        var ns = map.Text("namespace", required: true);
        var name = map.Text("name");
        var network = map.Text("network");
        var cluster = map.Text("clusterId", "Kubernetes");
        var addresses = map.List("workloadIps", item => Address(map, item, "an address of 'workloadIps'"), required: true);
        var fallbackUid = $"{cluster}//Pod/{ns}/{(name.Length > 0 ? name : addresses.FirstOrDefault()?.ToString())}";
        var workload = new Workload
        {
            Uid = map.Text("uid", fallbackUid) is { Length: > 0 } uid ? uid : fallbackUid,
            Name = name,
            Namespace = ns,
            TrustDomain = ReadTrustDomain(map),
            ServiceAccount = map.Text("serviceAccount", "default"),
            Addresses = addresses,
            Network = network,
            Protocol = map.Choice("protocol", TunnelProtocol.None, [("TCP", TunnelProtocol.None), ("HBONE", TunnelProtocol.Hbone)]),
            NetworkMode = map.Choice("networkMode", NetworkMode.Standard, [("Standard", NetworkMode.Standard), ("HostNetwork", NetworkMode.HostNetwork)]),
            Status = map.Choice("status", WorkloadStatus.Healthy, [("Healthy", WorkloadStatus.Healthy), ("Unhealthy", WorkloadStatus.Unhealthy)]),
            Waypoint = Gateway(map, "waypoint"),
            NetworkGateway = Gateway(map, "networkGateway"),
            Node = map.Text("node"),
            CanonicalName = map.Text("canonicalName"),
            CanonicalRevision = map.Text("canonicalRevision"),
            WorkloadType = map.Choice(
                "workloadType",
                WorkloadType.Deployment,
                [("deployment", WorkloadType.Deployment), ("cronjob", WorkloadType.CronJob), ("pod", WorkloadType.Pod), ("job", WorkloadType.Job)]),
            WorkloadName = map.Text("workloadName"),
            NativeTunnel = map.Flag("nativeTunnel"),
            Hostname = map.Text("hostname"),
            ClusterId = cluster,
            Locality = ReadLocality(map),
            ApplicationTunnel = ReadApplicationTunnel(map),
            Capacity = map.Number("capacity", 0u, uint.MaxValue) ?? 1,
            AuthorizationPolicies = map.List("authorizationPolicies", item => Reference(map, item)),
            Services = ReadEndpointServices(map),
        };
        map.End();
        CheckIdentity(node, workload);
        CheckUnique(_uids, workload.Uid, node, "workload with uid");
        if (workload.NetworkMode is NetworkMode.Standard)
        {
            _addresses.UnionWith(addresses.Select(address => new NetworkAddress(network, address)));
        }

        if (workload.Hostname.Length > 0)
        {
            _workloadHostnames.Add(new NamespacedHostname(ns, workload.Hostname));
        }

        return workload;
    }

    private TrustDomain ReadTrustDomain(YamlMapping map)
    {
        if (map.Field("trustDomain") is not { } node || map.Text(node, "'trustDomain'") is not { Length: > 0 } text)
        {
            return TrustDomain.ClusterLocal;
        }

        if (!TrustDomain.TryParse(text, out var trustDomain, out var error))
        {
            _faults.Add(node, $"'trustDomain': {error}");
        }

        return trustDomain ?? TrustDomain.ClusterLocal;
    }

    private Locality ReadLocality(YamlMapping parent)
    {
        if (parent.Field("locality") is not { } node || YamlMapping.Of(node, "'locality'", _faults) is not { } map)
        {
            return Locality.Unknown;
        }

        var locality = new Locality(map.Text("region"), map.Text("zone"), map.Text("subzone"));
        map.End();
        return locality;
    }

    private ApplicationTunnel? ReadApplicationTunnel(YamlMapping parent)
    {
        if (parent.Field("applicationTunnel") is not { } node || YamlMapping.Of(node, "'applicationTunnel'", _faults) is not { } map)
        {
            return null;
        }

        var tunnel = new ApplicationTunnel(
            map.Choice("protocol", ApplicationTunnelProtocol.None, [("NONE", ApplicationTunnelProtocol.None), ("PROXY", ApplicationTunnelProtocol.Proxy)]),
            map.Number("port", 1, IPEndPoint.MaxPort));
        map.End();
        return tunnel;
    }

    private ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>> ReadEndpointServices(YamlMapping parent)
    {
        var services = ImmutableDictionary.CreateBuilder<NamespacedHostname, FrozenDictionary<int, int>>();
        if (parent.Field("services") is not { } node)
        {
            return services.ToImmutable();
        }

        if (node is not YamlMappingNode mapping)
        {
            _faults.Add(node, "'services' must be a mapping from namespace/hostname to its ports");
            return services.ToImmutable();
        }

        foreach (var (key, ports) in mapping.Children)
        {
            if (parent.Text(key, "a service") is not { } text)
            {
                continue;
            }

            var slash = text.IndexOf('/', StringComparison.Ordinal);
            if (slash <= 0 || slash == text.Length - 1)
            {
                _faults.Add(key, $"the service '{text}' is not of the form namespace/hostname");
                continue;
            }

            var service = new NamespacedHostname(text[..slash], text[(slash + 1)..]);
            services[service] = parent.Ports(ports, $"the ports of '{text}'").ToFrozenDictionary();
            CheckReference(key, () => _serviceKeys.ContainsKey(service), $"the service '{text}' is not among 'services'");
        }

        return services.ToImmutable();
    }

    private GatewayAddress? Gateway(YamlMapping parent, string name, bool required = false)
    {
        if (parent.Field(name, required) is not { } node || YamlMapping.Of(node, $"'{name}'", _faults) is not { } map)
        {
            return null;
        }

        var destinationNode = map.Field("destination", required: true);
        var port = map.Number("hboneMtlsPort", 1, IPEndPoint.MaxPort) ?? 15008;
        map.End();
        if (destinationNode is null || map.Text(destinationNode, "'destination'") is not { } text)
        {
            return null;
        }

        var slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash >= 0 && NetworkAddress.TryParseAddress(text.AsSpan(slash + 1), out var address))
        {
            var networkAddress = new NetworkAddress(text[..slash], address);
            CheckReference(destinationNode, () => _addresses.Contains(networkAddress), $"no service or workload has the address '{text}'");
            return new GatewayAddress(networkAddress, port);
        }

        if (slash <= 0 || slash == text.Length - 1)
        {
            _faults.Add(destinationNode, $"'destination' is '{text}'; allowed are network/address and namespace/hostname");
            return null;
        }

        var hostname = new NamespacedHostname(text[..slash], text[(slash + 1)..]);
        CheckReference(
            destinationNode, () => _serviceKeys.ContainsKey(hostname) || _workloadHostnames.Contains(hostname), $"no service or workload has the host name '{text}'");
        return new GatewayAddress(hostname, port);
    }

    private IPAddress? Address(YamlMapping map, YamlNode node, string what)
    {
        if (map.Text(node, what) is not { } text)
        {
            return null;
        }

        if (NetworkAddress.TryParseAddress(text, out var address))
        {
            return address;
        }

        _faults.Add(node, $"{what} is '{text}'; allowed are IPv4 and IPv6 addresses");
        return null;
    }

    private IPNetwork? Range(YamlMapping map, YamlNode node)
    {
        if (map.Text(node, "a range of addresses") is not { } text)
        {
            return null;
        }

        if (AddressRange.TryParse(text, out var range))
        {
            return range;
        }

        _faults.Add(node, $"'{text}' is not a range of addresses; allowed are forms like 10.0.0.0/8, 2001:db8::/32 and single addresses");
        return null;
    }

    private string? Reference(YamlMapping map, YamlNode node)
    {
        var key = map.Text(node, "an entry of 'authorizationPolicies'");
        if (key is not null)
        {
            CheckReference(node, () => _policyKeys.ContainsKey(key), $"the policy '{key}' is not among 'policies'; allowed are names of the form namespace/name");
        }

        return key;
    }

    private void CheckIdentity(YamlNode node, Workload workload)
    {
        if (workload.Namespace.Length == 0)
        {
            return;
        }

        try
        {
            _ = workload.Identity;
        }
        catch (FormatException e)
        {
            _faults.Add(node, $"namespace and service account make no identity: {e.Message}");
        }
    }

    private void CheckUnique<TKey>(Dictionary<TKey, YamlNode> seen, TKey key, YamlNode node, string what)
        where TKey : notnull
    {
        if (!seen.TryAdd(key, node))
        {
            _faults.Add(node, $"a {what} '{key}' stands already at line {seen[key].Start.Line}; each may stand once");
        }
    }

    private void CheckReference(YamlNode node, Func<bool> exists, string fault) => _referenceChecks.Add(() =>
    {
        if (!exists())
        {
            _faults.Add(node, fault);
        }
    });
}
