using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Mesh.Core.Configuration;

/// <summary>Writes the model as the local YAML file; what <see cref="LocalConfigurationReader"/> makes of it is the same mesh.</summary>
/// <remarks>
/// Fields with their default are left out, but the trust domain, which Istio's ztunnel has another default for. Entries of policies that could not be understood
/// have no words in the file: they are written such that the policy decides as it does with them.
/// </remarks>
internal static class LocalConfigurationWriter
{
    // Ports are never 0, so this holds for every connection.
    private static readonly AuthorizationMatch Always = new() { NotDestinationPorts = [0] };

    public static void Write(LocalConfiguration configuration, TextWriter output)
    {
        var root = new YamlMappingNode();
        Add(root, "workloads", configuration.Workloads, Workload);
        Add(root, "services", configuration.Services, Service);
        Add(root, "policies", configuration.Policies, Policy);
        if (root.Children.Count == 0)
        {
            root.Add("workloads", Flow([]));
        }

        var emitter = new Emitter(output, new EmitterSettings(bestIndent: 2, bestWidth: int.MaxValue, isCanonical: false, maxSimpleKeyLength: 1024).WithNewLine("\n"));
        emitter.Emit(new StreamStart());
        new YamlStream(new YamlDocument(root)).Save(new WithoutStream(emitter), assignAnchors: false);
    }

    private static YamlMappingNode Workload(Workload workload)
    {
        var map = new YamlMappingNode { { "uid", Text(workload.Uid) } };
        Add(map, "name", workload.Name);
        map.Add("namespace", Text(workload.Namespace));
        Add(map, "serviceAccount", workload.ServiceAccount, "default");
        map.Add("trustDomain", Text(workload.TrustDomain.Name));
        map.Add("workloadIps", Flow(workload.Addresses.Select(address => Text(address.ToString()))));
        Add(map, "network", workload.Network);
        Add(map, "protocol", workload.Protocol is TunnelProtocol.Hbone ? "HBONE" : "");
        Add(map, "networkMode", workload.NetworkMode is NetworkMode.HostNetwork ? "HostNetwork" : "");
        Add(map, "status", workload.Status is WorkloadStatus.Unhealthy ? "Unhealthy" : "");
        Add(map, "waypoint", workload.Waypoint);
        Add(map, "networkGateway", workload.NetworkGateway);
        Add(map, "node", workload.Node);
        Add(map, "canonicalName", workload.CanonicalName);
        Add(map, "canonicalRevision", workload.CanonicalRevision);
        Add(map, "workloadType", workload.WorkloadType switch { WorkloadType.CronJob => "cronjob", WorkloadType.Pod => "pod", WorkloadType.Job => "job", _ => "" });
        Add(map, "workloadName", workload.WorkloadName);
        Add(map, "nativeTunnel", workload.NativeTunnel);
        Add(map, "hostname", workload.Hostname);
        Add(map, "clusterId", workload.ClusterId, "Kubernetes");
        if (workload.Locality != Locality.Unknown)
        {
            var locality = new YamlMappingNode { Style = MappingStyle.Flow };
            Add(locality, "region", workload.Locality.Region);
            Add(locality, "zone", workload.Locality.Zone);
            Add(locality, "subzone", workload.Locality.Subzone);
            map.Add("locality", locality);
        }

        if (workload.ApplicationTunnel is { } tunnel)
        {
            var node = new YamlMappingNode { { "protocol", tunnel.Protocol is ApplicationTunnelProtocol.Proxy ? "PROXY" : "NONE" } };
            node.Style = MappingStyle.Flow;
            Add(node, "port", tunnel.Port, null);
            map.Add("applicationTunnel", node);
        }

        Add<uint>(map, "capacity", workload.Capacity, 1);
        Add(map, "authorizationPolicies", workload.AuthorizationPolicies, Text, isFlow: true);
        if (!workload.Services.IsEmpty)
        {
            var services = new YamlMappingNode();
            foreach (var (key, ports) in workload.Services.OrderBy(pair => pair.Key.ToString(), StringComparer.Ordinal))
            {
                services.Add(Text(key.ToString()), Ports(ports));
            }

            map.Add("services", services);
        }

        return map;
    }

    private static YamlMappingNode Service(Service service)
    {
        var map = new YamlMappingNode
        {
            { "name", Text(service.Name) },
            { "namespace", Text(service.Namespace) },
            { "hostname", Text(service.Hostname) },
            { "vips", Flow(service.Vips.Select(vip => Text(vip.ToString()))) },
        };
        Add(map, "cidrVips", service.CidrVips, range =>
        {
            var node = new YamlMappingNode { Style = MappingStyle.Flow };
            Add(node, "network", range.Network);
            node.Add("cidr", Text(range.Range.ToString()));
            return node;
        });
        map.Add("ports", Ports(service.Ports));
        Add(map, "subjectAltNames", service.SubjectAltNames, Text);
        Add(map, "waypoint", service.Waypoint);
        Add(map, "weightedWaypoints", service.WeightedWaypoints, waypoint =>
        {
            var node = new YamlMappingNode { Style = MappingStyle.Flow };
            Add(node, "destination", waypoint.Destination);
            Add<uint>(node, "weight", waypoint.Weight, null);
            return node;
        });
        if (service.LoadBalancing is var balancing && (balancing.Mode, balancing.HealthPolicy, balancing.RoutingPreferences.IsEmpty) is not (LoadBalancingMode.Standard, HealthPolicy.OnlyHealthy, true))
        {
            var node = new YamlMappingNode
            {
                { "routingPreferences", Flow(balancing.RoutingPreferences.Select(scope => Text(scope.ToString()))) },
                { "mode", balancing.Mode.ToString() },
                { "healthPolicy", balancing.HealthPolicy.ToString() },
            };
            node.Style = MappingStyle.Flow;
            map.Add("loadBalancer", node);
        }

        Add(map, "x-trafficPolicy", service.TrafficPolicy);
        Add(map, "ipFamilies", service.IPFamilies switch { IPFamilies.IPv4Only => "IPv4", IPFamilies.IPv6Only => "IPv6", IPFamilies.Dual => "Dual", _ => "" });
        Add(map, "canonical", service.Canonical);
        Add(map, "visibility", service.Visibility is ServiceVisibility.Namespace ? "Namespace" : "");
        return map;
    }

    private static void Add(YamlMappingNode map, string name, L4TrafficPolicy? policy)
    {
        if (policy is null)
        {
            return;
        }

        var node = new YamlMappingNode { Style = MappingStyle.Flow };
        Add(node, "connectTimeout", Duration(policy.ConnectTimeout));
        Add<int>(node, "connectRetries", policy.ConnectRetries, 0);
        Add(node, "maxConnections", policy.MaxConnections, null);
        Add(node, "connectionsPerSecond", policy.ConnectionsPerSecond, null);
        if (policy.OutlierDetection is { } detection)
        {
            var outliers = new YamlMappingNode { Style = MappingStyle.Flow };
            Add<int>(outliers, "consecutiveLocalOriginFailures", detection.ConsecutiveLocalOriginFailures, null);
            Add(outliers, "baseEjectionTime", Duration(detection.BaseEjectionTime));
            Add<int>(outliers, "maxEjectionPercent", detection.MaxEjectionPercent, null);
            node.Add("outlierDetection", outliers);
        }

        map.Add(name, node);
    }

    private static YamlMappingNode Policy(L4Authorization policy)
    {
        var map = new YamlMappingNode
        {
            { "name", Text(policy.Name) },
            { "namespace", Text(policy.Namespace) },
            { "scope", policy.Scope.ToString() },
            { "action", policy.Action.ToString() },
        };
        Add(map, "dryRun", policy.DryRun);
        map.Add("rules", Block(policy.Rules.Select(rule => Block(rule.Clauses.Select(clause => Block(clause.Matches.Select(match => Match(Readable(match, policy.Action)))))))));
        return map;
    }

    // An ALLOW match with an unreadable entry never matches, as an empty one; in DENY the attribute of the entry counts as matched.
    private static AuthorizationMatch Readable(AuthorizationMatch match, AuthorizationAction action)
    {
        if (match.Unreadable.IsEmpty)
        {
            return match;
        }

        if (action is AuthorizationAction.Allow)
        {
            return new AuthorizationMatch();
        }

        foreach (var entry in match.Unreadable)
        {
            match = entry.Attribute switch
            {
                MatchAttribute.Namespaces => match with { Namespaces = [] },
                MatchAttribute.NotNamespaces => match with { NotNamespaces = [] },
                MatchAttribute.Principals => match with { Principals = [] },
                MatchAttribute.NotPrincipals => match with { NotPrincipals = [] },
                MatchAttribute.SourceIps => match with { SourceIps = [] },
                MatchAttribute.NotSourceIps => match with { NotSourceIps = [] },
                MatchAttribute.DestinationIps => match with { DestinationIps = [] },
                MatchAttribute.NotDestinationIps => match with { NotDestinationIps = [] },
                MatchAttribute.DestinationPorts => match with { DestinationPorts = [] },
                MatchAttribute.NotDestinationPorts => match with { NotDestinationPorts = [] },
                MatchAttribute.ServiceAccounts => match with { ServiceAccounts = [] },
                MatchAttribute.NotServiceAccounts => match with { NotServiceAccounts = [] },
                _ => match,
            };
        }

        return match with { Unreadable = [] } is { IsEmpty: false } rest ? rest : Always;
    }

    private static YamlMappingNode Match(AuthorizationMatch match)
    {
        var map = new YamlMappingNode();
        Add(map, "namespaces", match.Namespaces, StringMatch, isFlow: true);
        Add(map, "notNamespaces", match.NotNamespaces, StringMatch, isFlow: true);
        Add(map, "principals", match.Principals, StringMatch, isFlow: true);
        Add(map, "notPrincipals", match.NotPrincipals, StringMatch, isFlow: true);
        Add(map, "sourceIps", match.SourceIps, Range, isFlow: true);
        Add(map, "notSourceIps", match.NotSourceIps, Range, isFlow: true);
        Add(map, "destinationIps", match.DestinationIps, Range, isFlow: true);
        Add(map, "notDestinationIps", match.NotDestinationIps, Range, isFlow: true);
        Add(map, "destinationPorts", match.DestinationPorts, Number, isFlow: true);
        Add(map, "notDestinationPorts", match.NotDestinationPorts, Number, isFlow: true);
        Add(map, "serviceAccounts", match.ServiceAccounts, ServiceAccount, isFlow: true);
        Add(map, "notServiceAccounts", match.NotServiceAccounts, ServiceAccount, isFlow: true);
        map.Style = map.Children.Count == 0 ? MappingStyle.Flow : MappingStyle.Block;
        return map;

        static YamlNode Range(IPNetwork range) => Text(range.ToString());
    }

    private static YamlNode StringMatch(StringMatch match)
    {
        YamlNode node = match.Kind is StringMatchKind.Presence ? Flow([]) : Text(match.Value);
        node.Tag = new TagName($"!{match.Kind}");
        return node;
    }

    private static YamlMappingNode ServiceAccount(ServiceAccountMatch account)
    {
        var node = new YamlMappingNode { { "namespace", Text(account.Namespace) }, { "serviceAccount", Text(account.ServiceAccount) } };
        node.Style = MappingStyle.Flow;
        return node;
    }

    private static YamlMappingNode Ports(IEnumerable<KeyValuePair<int, int>> ports)
    {
        var node = new YamlMappingNode { Style = MappingStyle.Flow };
        foreach (var (port, target) in ports.OrderBy(pair => pair.Key))
        {
            node.Add(Number(port), Number(target));
        }

        return node;
    }

    private static void Add(YamlMappingNode map, string name, string value, string fallback = "")
    {
        if (value != fallback)
        {
            map.Add(name, Text(value));
        }
    }

    private static void Add(YamlMappingNode map, string name, bool value)
    {
        if (value)
        {
            map.Add(name, "true");
        }
    }

    private static void Add<T>(YamlMappingNode map, string name, T? value, T? fallback)
        where T : struct, IFormattable
    {
        if (value is { } number && !number.Equals(fallback))
        {
            map.Add(name, number.ToString(null, CultureInfo.InvariantCulture));
        }
    }

    private static void Add(YamlMappingNode map, string name, GatewayAddress? gateway)
    {
        if (gateway is null)
        {
            return;
        }

        var node = new YamlMappingNode { { "destination", Text(gateway.ToString()) } };
        node.Style = MappingStyle.Flow;
        Add<int>(node, "hboneMtlsPort", gateway.HboneMtlsPort, null);
        map.Add(name, node);
    }

    private static void Add<T>(YamlMappingNode map, string name, ImmutableArray<T> items, Func<T, YamlNode> write, bool isFlow = false)
    {
        if (!items.IsDefaultOrEmpty)
        {
            map.Add(name, isFlow ? Flow(items.Select(write)) : Block(items.Select(write)));
        }
    }

    private static YamlSequenceNode Block(IEnumerable<YamlNode> items)
    {
        var node = new YamlSequenceNode(items);
        node.Style = node.Children.Count == 0 ? SequenceStyle.Flow : SequenceStyle.Block;
        return node;
    }

    private static YamlSequenceNode Flow(IEnumerable<YamlNode> items) => new(items) { Style = SequenceStyle.Flow };

    private static YamlScalarNode Number(int number) => new(number.ToString(CultureInfo.InvariantCulture));

    private static string Duration(TimeSpan? duration) => duration is { } time ? $"{((long)time.TotalMilliseconds).ToString(CultureInfo.InvariantCulture)}ms" : "";

    // Whatever another reader of YAML could take for something else stands in quotes.
    private static YamlScalarNode Text(string text) => new(text) { Style = IsPlain(text) ? ScalarStyle.Plain : ScalarStyle.DoubleQuoted };

    private static bool IsPlain(string text)
    {
        foreach (var c in text)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c is not ('.' or '-' or '_' or '/' or ':'))
            {
                return false;
            }
        }

        // One letter can be a flag, and what begins with a digit a number, a date or a time; an IPv4 address is neither.
        var isWord = text is [>= 'A' and <= 'Z' or >= 'a' and <= 'z' or '/', .., not ':'];
        var isAddress = text is [>= '0' and <= '9', .., not ':'] && text.AsSpan().Count('.') == 3;
        return (isWord || isAddress) && text is not ("null" or "Null" or "NULL" or "true" or "false" or "True" or "False" or "TRUE" or "FALSE" or "yes" or "no" or "Yes" or "No" or "YES" or "NO" or "on" or "off" or "On" or "Off" or "ON" or "OFF");
    }

    /// <summary>Leaves out the marks of a document's begin and end, so that what is written reads like a file of somebody's.</summary>
    private sealed class WithoutStream(Emitter emitter) : IEmitter
    {
        public void Emit(ParsingEvent @event)
        {
            switch (@event)
            {
                case StreamStart:
                    return;
                case DocumentStart:
                    emitter.Emit(new DocumentStart(null, null, isImplicit: true));
                    return;
                case DocumentEnd:
                    emitter.Emit(new DocumentEnd(isImplicit: true));
                    return;
                default:
                    emitter.Emit(@event);
                    return;
            }
        }
    }
}
