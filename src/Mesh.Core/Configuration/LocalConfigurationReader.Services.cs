using System.Collections.Frozen;
using Mesh.Core.Workloads;
using YamlDotNet.RepresentationModel;

namespace Mesh.Core.Configuration;

/// <summary>Services, how they spread their load, and what they ask of their clients.</summary>
internal sealed partial class LocalConfigurationReader
{
    private static readonly TimeSpan ShortestDuration = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan LongestDuration = TimeSpan.FromHours(1);

    private Service? ReadService(YamlNode node)
    {
        if (YamlMapping.Of(node, "a service", _faults) is not { } map)
        {
            return null;
        }

        var service = new Service
        {
            Name = map.Text("name", required: true),
            Namespace = map.Text("namespace", required: true),
            Hostname = map.Text("hostname", required: true),
            Vips = map.Values("vips", item => Vip(map, item), required: true),
            CidrVips = map.Values("cidrVips", ReadCidrVip),
            Ports = map.Ports("ports", required: true).ToFrozenDictionary(),
            SubjectAltNames = map.List("subjectAltNames", item => map.Text(item, "an entry of 'subjectAltNames'")),
            Waypoint = Gateway(map, "waypoint"),
            WeightedWaypoints = map.List("weightedWaypoints", ReadWeightedWaypoint),
            LoadBalancing = ReadLoadBalancing(map),
            TrafficPolicy = ReadTrafficPolicy(map),
            IPFamilies = map.Choice("ipFamilies", IPFamilies.Automatic, [("Dual", IPFamilies.Dual), ("IPv4", IPFamilies.IPv4Only), ("IPv6", IPFamilies.IPv6Only)]),
            Canonical = map.Flag("canonical"),
            Visibility = map.Choice("visibility", ServiceVisibility.Public, [("Public", ServiceVisibility.Public), ("Namespace", ServiceVisibility.Namespace)]),
        };
        map.End();
        CheckUnique(_serviceKeys, service.Key, node, "service");
        _addresses.UnionWith(service.Vips);
        return service;
    }

    private LoadBalancing ReadLoadBalancing(YamlMapping parent)
    {
        if (parent.Field("loadBalancer") is not { } node || YamlMapping.Of(node, "'loadBalancer'", _faults) is not { } map)
        {
            return LoadBalancing.Default;
        }

        var balancing = new LoadBalancing(
            map.Choice(
                "mode",
                LoadBalancingMode.Standard,
                [
                    ("Standard", LoadBalancingMode.Standard), ("Strict", LoadBalancingMode.Strict),
                    ("Failover", LoadBalancingMode.Failover), ("Passthrough", LoadBalancingMode.Passthrough),
                ],
                required: true),
            map.Values(
                "routingPreferences",
                item => map.Choice(
                    item,
                    "a routing preference",
                    (RoutingScope?)null,
                    [
                        ("Region", RoutingScope.Region), ("Zone", RoutingScope.Zone), ("Subzone", RoutingScope.Subzone),
                        ("Node", RoutingScope.Node), ("Cluster", RoutingScope.Cluster), ("Network", RoutingScope.Network),
                    ]),
                required: true),
            map.Choice("healthPolicy", HealthPolicy.OnlyHealthy, [("OnlyHealthy", HealthPolicy.OnlyHealthy), ("AllowAll", HealthPolicy.AllowAll)]));
        map.End();
        return balancing;
    }

    // Istio's ztunnel has nothing like it: the key says that it is ours.
    private L4TrafficPolicy? ReadTrafficPolicy(YamlMapping parent)
    {
        if (parent.Field("x-trafficPolicy") is not { } node || YamlMapping.Of(node, "'x-trafficPolicy'", _faults) is not { } map)
        {
            return null;
        }

        var policy = new L4TrafficPolicy
        {
            ConnectTimeout = map.Duration("connectTimeout", ShortestDuration, LongestDuration),
            ConnectRetries = map.Number("connectRetries", 0, 10) ?? 0,
            MaxConnections = map.Number("maxConnections", 1, int.MaxValue),
            ConnectionsPerSecond = map.Number("connectionsPerSecond", 1, int.MaxValue),
            OutlierDetection = ReadOutlierDetection(map),
        };
        map.End();
        return policy;
    }

    private OutlierDetection? ReadOutlierDetection(YamlMapping parent)
    {
        if (parent.Field("outlierDetection") is not { } node || YamlMapping.Of(node, "'outlierDetection'", _faults) is not { } map)
        {
            return null;
        }

        // The defaults are those of Istio's DestinationRule, where it has the field.
        var detection = new OutlierDetection(
            map.Number("consecutiveLocalOriginFailures", 1, 1000) ?? 5,
            map.Duration("baseEjectionTime", ShortestDuration, LongestDuration) ?? TimeSpan.FromSeconds(30),
            map.Number("maxEjectionPercent", 0, 100) ?? 10);
        map.End();
        return detection;
    }

    private WeightedWaypoint? ReadWeightedWaypoint(YamlNode node)
    {
        if (YamlMapping.Of(node, "a weighted waypoint", _faults) is not { } map)
        {
            return null;
        }

        var destination = Gateway(map, "destination", required: true);
        var weight = map.Number("weight", 0u, uint.MaxValue) ?? 0;
        map.End();
        return destination is null ? null : new WeightedWaypoint(destination, weight);
    }

    private NetworkRange? ReadCidrVip(YamlNode node)
    {
        if (YamlMapping.Of(node, "an entry of 'cidrVips'", _faults) is not { } map)
        {
            return null;
        }

        var network = map.Text("network");
        var range = map.Field("cidr", required: true) is { } cidr ? Range(map, cidr) : null;
        map.End();
        return range is { } found ? new NetworkRange(network, found) : null;
    }

    private NetworkAddress? Vip(YamlMapping map, YamlNode node)
    {
        if (map.Text(node, "an entry of 'vips'") is not { } text)
        {
            return null;
        }

        var slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash >= 0 && NetworkAddress.TryParseAddress(text.AsSpan(slash + 1), out var address))
        {
            return new NetworkAddress(text[..slash], address);
        }

        _faults.Add(node, $"the VIP '{text}' is not of the form network/address; in the default network that is /address");
        return null;
    }
}
