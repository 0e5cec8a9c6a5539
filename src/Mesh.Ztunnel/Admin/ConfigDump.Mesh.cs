using Mesh.Core.Policy;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Admin;

/// <summary>Workloads, services and policies, with the keys of the local file.</summary>
internal sealed partial class ConfigDump
{
    private void Workload(Workload workload)
    {
        Json.WriteStartObject();
        List("workloadIps", workload.Addresses, address => Json.WriteStringValue(address.ToString()));
        Gateway("waypoint", workload.Waypoint);
        Gateway("networkGateway", workload.NetworkGateway);
        Json.WriteString("protocol", workload.Protocol is TunnelProtocol.Hbone ? "HBONE" : "TCP");
        Json.WriteString("networkMode", workload.NetworkMode is NetworkMode.HostNetwork ? "HostNetwork" : "Standard");
        Json.WriteString("uid", workload.Uid);
        Json.WriteString("name", workload.Name);
        Json.WriteString("namespace", workload.Namespace);
        Json.WriteString("trustDomain", workload.TrustDomain.Name);
        Json.WriteString("serviceAccount", workload.ServiceAccount);
        Optional("network", workload.Network);
        Optional("workloadName", workload.WorkloadName);
        Json.WriteString("workloadType", workload.WorkloadType switch { WorkloadType.CronJob => "cronjob", WorkloadType.Pod => "pod", WorkloadType.Job => "job", _ => "deployment" });
        Optional("canonicalName", workload.CanonicalName);
        Optional("canonicalRevision", workload.CanonicalRevision);
        Optional("hostname", workload.Hostname);
        Optional("node", workload.Node);
        if (workload.NativeTunnel)
        {
            Json.WriteBoolean("nativeTunnel", true);
        }

        if (workload.ApplicationTunnel is { } tunnel)
        {
            Object("applicationTunnel", () =>
            {
                Json.WriteString("protocol", tunnel.Protocol is ApplicationTunnelProtocol.Proxy ? "PROXY" : "NONE");
                if (tunnel.Port is { } port)
                {
                    Json.WriteNumber("port", port);
                }
            });
        }

        Optional("authorizationPolicies", workload.AuthorizationPolicies, Json.WriteStringValue);
        Json.WriteString("status", Status(workload));
        Json.WriteString("clusterId", workload.ClusterId);
        if (workload.Locality != Locality.Unknown)
        {
            Object("locality", () =>
            {
                Optional("region", workload.Locality.Region);
                Optional("zone", workload.Locality.Zone);
                Optional("subzone", workload.Locality.Subzone);
            });
        }

        List("services", workload.Services.Keys.Select(key => key.ToString()).Order(StringComparer.Ordinal), Json.WriteStringValue);
        Json.WriteNumber("capacity", workload.Capacity);
        Json.WriteEndObject();
    }

    private void Service(Service service, IReadOnlyDictionary<string, Workload>? endpoints)
    {
        Json.WriteStartObject();
        Json.WriteString("name", service.Name);
        Json.WriteString("namespace", service.Namespace);
        Json.WriteString("hostname", service.Hostname);
        List("vips", service.Vips, vip => Json.WriteStringValue(vip.ToString()));
        Optional("cidrVips", service.CidrVips, range =>
        {
            Json.WriteStartObject();
            Json.WriteString("network", range.Network);
            Json.WriteString("cidr", range.Range.ToString());
            Json.WriteEndObject();
        });
        Ports("ports", service.Ports);
        if (endpoints is not null)
        {
            Object("endpoints", () =>
            {
                foreach (var (uid, workload) in endpoints.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                {
                    Object(uid, () => Endpoint(workload, service));
                }
            });
        }

        Optional("subjectAltNames", service.SubjectAltNames, Json.WriteStringValue);
        Gateway("waypoint", service.Waypoint);
        Optional("weightedWaypoints", service.WeightedWaypoints, waypoint =>
        {
            Json.WriteStartObject();
            Gateway("destination", waypoint.Destination);
            Json.WriteNumber("weight", waypoint.Weight);
            Json.WriteEndObject();
        });
        LoadBalancer(service.LoadBalancing);
        Optional("ipFamilies", service.IPFamilies switch { IPFamilies.IPv4Only => "IPv4", IPFamilies.IPv6Only => "IPv6", IPFamilies.Dual => "Dual", _ => null });
        if (service.Canonical)
        {
            Json.WriteBoolean("canonical", true);
        }

        Json.WriteString("visibility", service.Visibility is ServiceVisibility.Namespace ? "Namespace" : "Public");
        Json.WriteEndObject();
    }

    private void Endpoint(Workload workload, Service service)
    {
        Json.WriteString("workloadUid", workload.Uid);
        Ports("port", workload.Services.TryGetValue(service.Key, out var ports) ? ports : []);
        Json.WriteString("status", Status(workload));
    }

    private void LoadBalancer(LoadBalancing balancing)
    {
        if (balancing.Mode is LoadBalancingMode.Standard && balancing.RoutingPreferences.IsEmpty && balancing.HealthPolicy is HealthPolicy.OnlyHealthy)
        {
            return;
        }

        Object("loadBalancer", () =>
        {
            List("routingPreferences", balancing.RoutingPreferences, scope => Json.WriteStringValue(scope switch
            {
                RoutingScope.Region => "Region",
                RoutingScope.Zone => "Zone",
                RoutingScope.Subzone => "Subzone",
                RoutingScope.Node => "Node",
                RoutingScope.Cluster => "Cluster",
                _ => "Network",
            }));
            Json.WriteString("mode", balancing.Mode switch
            {
                LoadBalancingMode.Strict => "Strict",
                LoadBalancingMode.Failover => "Failover",
                LoadBalancingMode.Passthrough => "Passthrough",
                _ => "Standard",
            });
            Json.WriteString("healthPolicy", balancing.HealthPolicy is HealthPolicy.AllowAll ? "AllowAll" : "OnlyHealthy");
        });
    }

    private void Policy(L4Authorization policy)
    {
        Json.WriteStartObject();
        Json.WriteString("name", policy.Name);
        Json.WriteString("namespace", policy.Namespace);
        Json.WriteString("scope", policy.Scope switch { AuthorizationScope.Global => "Global", AuthorizationScope.Namespace => "Namespace", _ => "WorkloadSelector" });
        Json.WriteString("action", policy.Action is AuthorizationAction.Deny ? "Deny" : "Allow");
        List("rules", policy.Rules, rule => Nested(rule.Clauses, clause => Nested(clause.Matches, Match)));
        Json.WriteBoolean("dryRun", policy.DryRun);
        Json.WriteEndObject();

        void Nested<T>(IEnumerable<T> items, Action<T> write)
        {
            Json.WriteStartArray();
            foreach (var item in items)
            {
                write(item);
            }

            Json.WriteEndArray();
        }
    }

    private void Match(AuthorizationMatch match)
    {
        Json.WriteStartObject();
        Optional("namespaces", match.Namespaces, Text);
        Optional("notNamespaces", match.NotNamespaces, Text);
        Optional("serviceAccounts", match.ServiceAccounts, ServiceAccount);
        Optional("notServiceAccounts", match.NotServiceAccounts, ServiceAccount);
        Optional("principals", match.Principals, Text);
        Optional("notPrincipals", match.NotPrincipals, Text);
        Optional("sourceIps", match.SourceIps, range => Json.WriteStringValue(range.ToString()));
        Optional("notSourceIps", match.NotSourceIps, range => Json.WriteStringValue(range.ToString()));
        Optional("destinationIps", match.DestinationIps, range => Json.WriteStringValue(range.ToString()));
        Optional("notDestinationIps", match.NotDestinationIps, range => Json.WriteStringValue(range.ToString()));
        Optional("destinationPorts", match.DestinationPorts, Json.WriteNumberValue);
        Optional("notDestinationPorts", match.NotDestinationPorts, Json.WriteNumberValue);
        Json.WriteEndObject();
    }

    private void Text(StringMatch match)
    {
        Json.WriteStartObject();
        if (match.Kind is StringMatchKind.Presence)
        {
            Json.WriteStartArray("Presence");
            Json.WriteEndArray();
        }
        else
        {
            Json.WriteString(match.Kind switch { StringMatchKind.Prefix => "Prefix", StringMatchKind.Suffix => "Suffix", _ => "Exact" }, match.Value);
        }

        Json.WriteEndObject();
    }

    private void ServiceAccount(ServiceAccountMatch match)
    {
        Json.WriteStartObject();
        Json.WriteString("namespace", match.Namespace);
        Json.WriteString("serviceAccount", match.ServiceAccount);
        Json.WriteEndObject();
    }

    private void Gateway(string name, GatewayAddress? gateway)
    {
        if (gateway is not null)
        {
            Object(name, () =>
            {
                Json.WriteString("destination", gateway.ToString());
                Json.WriteNumber("hboneMtlsPort", gateway.HboneMtlsPort);
            });
        }
    }

    private void Ports(string name, IEnumerable<KeyValuePair<int, int>> ports) => Object(name, () =>
    {
        foreach (var (port, target) in ports.OrderBy(pair => pair.Key))
        {
            Json.WriteNumber(port.ToString(System.Globalization.CultureInfo.InvariantCulture), target);
        }
    });

    private static string Status(Workload workload) => workload.Status is WorkloadStatus.Unhealthy ? "Unhealthy" : "Healthy";
}
