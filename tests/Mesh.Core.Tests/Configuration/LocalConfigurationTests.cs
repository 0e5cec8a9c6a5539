using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;

namespace Mesh.Core.Configuration;

public sealed class LocalConfigurationTests
{
    /// <summary>The example of ztunnel §6a.</summary>
    public const string Example = """
        workloads:
        - {uid: c1//Pod/shop/cart-0, name: cart-0, namespace: shop, serviceAccount: cart, trustDomain: cluster.local,
           workloadIps: [10.1.0.7], protocol: HBONE, node: n1, services: {"shop/cart.shop.svc.cluster.local": {80: 8080}}}
        services:
        - {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: ["/10.96.3.4"], ports: {80: 8080},
           loadBalancer: {routingPreferences: [Network, Zone], mode: Failover, healthPolicy: OnlyHealthy}}
        policies:
        - name: only-web
          namespace: shop
          scope: Namespace
          action: Allow
          dryRun: false
          rules:            # rule list -> clause list -> match list
          - - - principals: [!Exact cluster.local/ns/shop/sa/web]
            - - destinationPorts: [8080]
        """;

    /// <summary>Every field once, with another value than its default.</summary>
    public const string Everything = """
        workloads:
        - uid: u1
          name: w
          namespace: ns
          serviceAccount: sa
          trustDomain: other.example
          workloadIps: ["::ffff:10.0.0.1", 2001:db8::1]
          network: n
          protocol: hbone
          networkMode: HostNetwork
          status: Unhealthy
          waypoint: {destination: n/10.9.0.1, hboneMtlsPort: 15009}
          networkGateway: {destination: ns/svc.example}
          node: node1
          canonicalName: app
          canonicalRevision: v1
          workloadType: cronjob
          workloadName: job
          nativeTunnel: true
          hostname: w.example
          clusterId: c1
          locality: {region: r, zone: z, subzone: s}
          applicationTunnel: {protocol: PROXY, port: 15088}
          capacity: 7
          authorizationPolicies: [ns/p]
          services: {ns/svc.example: {80: 8080, 81: 0}}
        services:
        - name: svc
          namespace: ns
          hostname: svc.example
          vips: [n/10.9.0.1, "/10.9.0.2"]
          cidrVips: [{network: n, cidr: 10.8.1.1/16}]
          ports: {80: 8080}
          subjectAltNames: [spiffe://other.example/ns/ns/sa/sa]
          waypoint: {destination: ns/w.example}
          weightedWaypoints: [{destination: {destination: ns/svc.example}, weight: 3}]
          loadBalancer: {routingPreferences: [Region, Zone, Subzone, Node, Cluster, Network], mode: Strict, healthPolicy: AllowAll}
          ipFamilies: Dual
          canonical: true
          visibility: Namespace
        policies:
        - name: p
          namespace: ns
          scope: WorkloadSelector
          action: Deny
          dryRun: true
          rules:
          - - - namespaces: [!Exact a]
                notNamespaces: [!Prefix b]
                principals: [!Suffix c, {Exact: d}]
                notPrincipals: [!Presence []]
                sourceIps: [10.0.0.0/8]
                notSourceIps: [10.1.2.3]
                destinationIps: [2001:db8::/32]
                notDestinationIps: [10.1.2.3/24]
                destinationPorts: [80]
                notDestinationPorts: [81]
                serviceAccounts: [{namespace: e, serviceAccount: f}]
                notServiceAccounts: [{namespace: g, serviceAccount: h}]
        """;

    private const string Pod = "- {namespace: ns, workloadIps: [10.0.0.1]";
    private const string Svc = "- {name: s, namespace: ns, hostname: s.example, vips: [], ports: {}";
    private const string Rule = "- {name: p, namespace: ns, scope: Global, action: Allow, rules: ";

    [Fact]
    public void The_example_of_ztunnel_is_read_exactly()
    {
        var configuration = LocalConfiguration.Parse(Example);

        var cart = Assert.Single(configuration.Workloads);
        Assert.Equal(("c1//Pod/shop/cart-0", "cart-0", "shop", "cart", "n1"), (cart.Uid, cart.Name, cart.Namespace, cart.ServiceAccount, cart.Node));
        Assert.Equal(SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart"), cart.Identity);
        Assert.Equal([IPAddress.Parse("10.1.0.7")], cart.Addresses.ToArray());
        Assert.Equal((TunnelProtocol.Hbone, NetworkMode.Standard, WorkloadStatus.Healthy, 1u, "Kubernetes"), (cart.Protocol, cart.NetworkMode, cart.Status, cart.Capacity, cart.ClusterId));
        var endpoint = Assert.Single(cart.Services);
        Assert.Equal(new NamespacedHostname("shop", "cart.shop.svc.cluster.local"), endpoint.Key);
        Assert.Equal([KeyValuePair.Create(80, 8080)], endpoint.Value);

        var service = Assert.Single(configuration.Services);
        Assert.Equal(("cart", endpoint.Key), (service.Name, service.Key));
        Assert.Equal([new NetworkAddress("", IPAddress.Parse("10.96.3.4"))], service.Vips.ToArray());
        Assert.Equal([KeyValuePair.Create(80, 8080)], service.Ports);
        Assert.Equal((LoadBalancingMode.Failover, HealthPolicy.OnlyHealthy), (service.LoadBalancing.Mode, service.LoadBalancing.HealthPolicy));
        Assert.Equal([RoutingScope.Network, RoutingScope.Zone], service.LoadBalancing.RoutingPreferences.ToArray());

        var policy = Assert.Single(configuration.Policies);
        Assert.Equal(("shop/only-web", AuthorizationScope.Namespace, AuthorizationAction.Allow, false), (policy.Key, policy.Scope, policy.Action, policy.DryRun));
        var rule = Assert.Single(policy.Rules);
        Assert.Equal(2, rule.Clauses.Length);
        Assert.Equal([StringMatch.Exact("cluster.local/ns/shop/sa/web")], Assert.Single(rule.Clauses[0].Matches).Principals.ToArray());
        Assert.Equal([8080], Assert.Single(rule.Clauses[1].Matches).DestinationPorts.ToArray());
    }

    [Fact]
    public void Every_field_of_a_workload_is_read()
    {
        var w = LocalConfiguration.Parse(Everything).Workloads.Single();
        Assert.Equal(("u1", "w", "ns", "sa", "other.example", "n"), (w.Uid, w.Name, w.Namespace, w.ServiceAccount, w.TrustDomain.ToString(), w.Network));
        Assert.Equal([IPAddress.Parse("10.0.0.1"), IPAddress.Parse("2001:db8::1")], w.Addresses.ToArray());
        Assert.Equal((TunnelProtocol.Hbone, NetworkMode.HostNetwork, WorkloadStatus.Unhealthy, WorkloadType.CronJob), (w.Protocol, w.NetworkMode, w.Status, w.WorkloadType));
        Assert.Equal(new GatewayAddress(new NetworkAddress("n", IPAddress.Parse("10.9.0.1")), 15009), w.Waypoint);
        Assert.Equal(new GatewayAddress(new NamespacedHostname("ns", "svc.example"), 15008), w.NetworkGateway);
        Assert.Equal(("node1", "app", "v1", "job", true, "w.example", "c1"), (w.Node, w.CanonicalName, w.CanonicalRevision, w.WorkloadName, w.NativeTunnel, w.Hostname, w.ClusterId));
        Assert.Equal((new Locality("r", "z", "s"), new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088), 7u), (w.Locality, w.ApplicationTunnel!, w.Capacity));
        Assert.Equal(["ns/p"], w.AuthorizationPolicies.ToArray());
        Assert.Equal([KeyValuePair.Create(80, 8080), KeyValuePair.Create(81, 0)], w.Services.Single().Value.OrderBy(pair => pair.Key));
    }

    [Fact]
    public void Every_field_of_a_service_is_read()
    {
        var s = LocalConfiguration.Parse(Everything).Services.Single();
        Assert.Equal(("svc", "ns", "svc.example"), (s.Name, s.Namespace, s.Hostname));
        Assert.Equal([new("n", IPAddress.Parse("10.9.0.1")), new NetworkAddress("", IPAddress.Parse("10.9.0.2"))], s.Vips.ToArray());
        Assert.Equal([new NetworkRange("n", IPNetwork.Parse("10.8.0.0/16"))], s.CidrVips.ToArray());
        Assert.Equal(["spiffe://other.example/ns/ns/sa/sa"], s.SubjectAltNames.ToArray());
        Assert.Equal(new GatewayAddress(new NamespacedHostname("ns", "w.example"), 15008), s.Waypoint);
        Assert.Equal([new WeightedWaypoint(new GatewayAddress(new NamespacedHostname("ns", "svc.example"), 15008), 3)], s.WeightedWaypoints.ToArray());
        Assert.Equal((LoadBalancingMode.Strict, HealthPolicy.AllowAll), (s.LoadBalancing.Mode, s.LoadBalancing.HealthPolicy));
        Assert.Equal(
            [RoutingScope.Region, RoutingScope.Zone, RoutingScope.Subzone, RoutingScope.Node, RoutingScope.Cluster, RoutingScope.Network], s.LoadBalancing.RoutingPreferences.ToArray());
        Assert.Equal((IPFamilies.Dual, true, ServiceVisibility.Namespace), (s.IPFamilies, s.Canonical, s.Visibility));
    }

    [Fact]
    public void Every_field_of_a_policy_is_read()
    {
        var p = LocalConfiguration.Parse(Everything).Policies.Single();
        Assert.Equal(("ns/p", AuthorizationScope.WorkloadSelector, AuthorizationAction.Deny, true), (p.Key, p.Scope, p.Action, p.DryRun));
        var m = p.Rules.Single().Clauses.Single().Matches.Single();
        Assert.Equal([StringMatch.Exact("a")], m.Namespaces.ToArray());
        Assert.Equal([StringMatch.Prefix("b")], m.NotNamespaces.ToArray());
        Assert.Equal([StringMatch.Suffix("c"), StringMatch.Exact("d")], m.Principals.ToArray());
        Assert.Equal([StringMatch.Presence], m.NotPrincipals.ToArray());
        Assert.Equal([IPNetwork.Parse("10.0.0.0/8")], m.SourceIps.ToArray());
        Assert.Equal([IPNetwork.Parse("10.1.2.3/32")], m.NotSourceIps.ToArray());
        Assert.Equal([IPNetwork.Parse("2001:db8::/32")], m.DestinationIps.ToArray());
        Assert.Equal([IPNetwork.Parse("10.1.2.0/24")], m.NotDestinationIps.ToArray());
        Assert.Equal([80, 81], m.DestinationPorts.Concat(m.NotDestinationPorts));
        Assert.Equal([new ServiceAccountMatch("e", "f")], m.ServiceAccounts.ToArray());
        Assert.Equal([new ServiceAccountMatch("g", "h")], m.NotServiceAccounts.ToArray());
    }

    [Theory]
    [InlineData("workloads: []\nservices:\npolicies: ~\n")]
    [InlineData("{}")]
    public void A_file_without_entries_is_an_empty_mesh(string yaml)
    {
        var configuration = LocalConfiguration.Parse(yaml);
        Assert.Equal((0, 0, 0), (configuration.Workloads.Length, configuration.Services.Length, configuration.Policies.Length));
    }

    [Theory]
    [InlineData("")]
    [InlineData("\n\n")]
    [InlineData("# nothing\n")]
    [InlineData("---\n")]
    public void A_file_with_nothing_in_it_is_a_fault_for_it_may_be_half_of_an_edit(string yaml)
    {
        var fault = Assert.Throws<ConfigurationException>(() => LocalConfiguration.Parse(yaml, "f.yaml"));
        Assert.Equal("f.yaml:1:1: the file is empty; a mesh with nothing in it is written 'workloads: []'", fault.Message);
    }

    [Theory]
    [InlineData("namespace: ns, workloadIps: [10.0.0.1]", "Kubernetes//Pod/ns/10.0.0.1")]
    [InlineData("namespace: ns, name: a, clusterId: c, workloadIps: [10.0.0.1]", "c//Pod/ns/a")]
    [InlineData("namespace: ns, uid: '', name: a, workloadIps: []", "Kubernetes//Pod/ns/a")]
    public void A_workload_without_a_uid_gets_one(string fields, string uid) =>
        Assert.Equal(uid, LocalConfiguration.Parse($"workloads: [{{{fields}}}]").Workloads.Single().Uid);

    public static TheoryData<string, string> Faults => new()
    {
        { "workload: []", "f.yaml:1:1: the file has an unknown field 'workload'; allowed are policies, services, workloads" },
        { $"workloads:\n{Pod}, nodes: a}}", "f.yaml:2:44: a workload has an unknown field 'nodes'; allowed are applicationTunnel, authorizationPolicies, canonicalName, canonicalRevision, capacity, clusterId, hostname, locality, name, namespace, nativeTunnel, network, networkGateway, networkMode, node, protocol, serviceAccount, services, status, trustDomain, uid, waypoint, workloadIps, workloadName, workloadType" },
        { $"services:\n{Svc}, loadBalancer: {{mode: Strict, routingPreferences: [], x: 1}}}}", "f.yaml:2:123: 'loadBalancer' has an unknown field 'x'; allowed are healthPolicy, mode, routingPreferences" },
        { "workloads:\n- {namespace: ns, workloadIps: [10.0.0.256]}", "f.yaml:2:33: an address of 'workloadIps' is '10.0.0.256'; allowed are IPv4 and IPv6 addresses" },
        { "workloads:\n- {namespace: ns, workloadIps: 10.0.0.1}", "f.yaml:2:32: 'workloadIps' must be a list, but is the text '10.0.0.1'" },
        { "workloads:\n- {namespace: ns}", "f.yaml:2:3: a workload has no field 'workloadIps', which is required" },
        { "workloads:\n- {workloadIps: [10.0.0.1]}", "f.yaml:2:3: a workload has no field 'namespace', which is required" },
        { "workloads:\n- web", "f.yaml:2:3: a workload must be a mapping of fields, but is the text 'web'" },
        { "workloads: {}", "f.yaml:1:12: 'workloads' must be a list, but is a mapping" },
        { "- workloads", "f.yaml:1:1: the file must be a mapping of fields, but is a list" },
        { $"workloads:\n{Pod}, uid: a}}\n{Pod}, uid: a}}", "f.yaml:3:3: a workload with uid 'a' stands already at line 2; each may stand once" },
        { $"services:\n{Svc}}}\n{Svc}}}", "f.yaml:3:3: a service 'ns/s.example' stands already at line 2; each may stand once" },
        { $"policies:\n{Rule}[]}}\n{Rule}[]}}", "f.yaml:3:3: a policy 'ns/p' stands already at line 2; each may stand once" },
        { $"workloads:\n{Pod}, services: {{ns/s.example: {{80: 80}}}}}}", "f.yaml:2:55: the service 'ns/s.example' is not among 'services'" },
        { $"workloads:\n{Pod}, services: {{s.example: {{80: 80}}}}}}", "f.yaml:2:55: the service 's.example' is not of the form namespace/hostname" },
        { $"workloads:\n{Pod}, authorizationPolicies: [ns/p]}}", "f.yaml:2:68: the policy 'ns/p' is not among 'policies'; allowed are names of the form namespace/name" },
        { $"workloads:\n{Pod}, waypoint: {{destination: ns/w.example}}}}", "f.yaml:2:68: no service or workload has the host name 'ns/w.example'" },
        { $"workloads:\n{Pod}, waypoint: {{destination: /10.0.0.9}}}}", "f.yaml:2:68: no service or workload has the address '/10.0.0.9'" },
        { $"workloads:\n{Pod}, waypoint: {{destination: 10.0.0.1}}}}", "f.yaml:2:68: 'destination' is '10.0.0.1'; allowed are network/address and namespace/hostname" },
        { $"workloads:\n{Pod}, waypoint: {{hboneMtlsPort: 1}}}}", "f.yaml:2:54: 'waypoint' has no field 'destination', which is required" },
        { $"workloads:\n{Pod}, waypoint: {{destination: /10.0.0.1, hboneMtlsPort: 65536}}}}", "f.yaml:2:94: 'hboneMtlsPort' is '65536'; allowed are whole numbers from 1 to 65535" },
        { $"workloads:\n{Pod}, protocol: HTTP}}", "f.yaml:2:54: 'protocol' is 'HTTP'; allowed are TCP, HBONE" },
        { $"workloads:\n{Pod}, status: sick}}", "f.yaml:2:52: 'status' is 'sick'; allowed are Healthy, Unhealthy" },
        { $"workloads:\n{Pod}, nativeTunnel: yes}}", "f.yaml:2:58: 'nativeTunnel' is 'yes'; allowed are true and false" },
        { $"workloads:\n{Pod}, capacity: -1}}", "f.yaml:2:54: 'capacity' is '-1'; allowed are whole numbers from 0 to 4294967295" },
        { $"services:\n{Svc}, ipFamilies: IPv5}}", "f.yaml:2:82: 'ipFamilies' is 'IPv5'; allowed are Dual, IPv4, IPv6" },
        { $"services:\n{Svc}, loadBalancer: {{mode: Strict}}}}", "f.yaml:2:84: 'loadBalancer' has no field 'routingPreferences', which is required" },
        { $"services:\n{Svc}, loadBalancer: {{mode: Strict, routingPreferences: [City]}}}}", "f.yaml:2:120: a routing preference is 'City'; allowed are Region, Zone, Subzone, Node, Cluster, Network" },
        { "services:\n- {name: s, namespace: ns, hostname: h, vips: [10.0.0.1], ports: {}}", "f.yaml:2:48: the VIP '10.0.0.1' is not of the form network/address; in the default network that is /address" },
        { "services:\n- {name: s, namespace: ns, hostname: h, vips: [], ports: {0: 80}}", "f.yaml:2:59: a service port of 'ports' is '0'; allowed are whole numbers from 1 to 65535" },
        { "services:\n- {name: s, namespace: ns, hostname: h, vips: []}", "f.yaml:2:3: a service has no field 'ports', which is required" },
        { "policies:\n- {name: p, namespace: ns, action: Allow, rules: []}", "f.yaml:2:3: a policy has no field 'scope', which is required" },
        { "policies:\n- {name: p, namespace: ns, scope: Cluster, action: Allow, rules: []}", "f.yaml:2:35: 'scope' is 'Cluster'; allowed are Global, Namespace, WorkloadSelector" },
        { "policies:\n- {name: p, namespace: ns, scope: Global, action: Audit, rules: []}", "f.yaml:2:51: 'action' is 'Audit'; allowed are Allow, Deny" },
        { $"policies:\n{Rule}[[[{{principals: [!Regex a]}}]]]}}", "f.yaml:2:82: a string match needs a tag; allowed are !Exact text, !Prefix text, !Suffix text and !Presence []" },
        { $"policies:\n{Rule}[[[{{principals: [a]}}]]]}}", "f.yaml:2:82: a string match needs a tag; allowed are !Exact text, !Prefix text, !Suffix text and !Presence []" },
        { $"policies:\n{Rule}[[[{{principals: [!Exact spiffe://td/ns/a/sa/b]}}]]]}}", "f.yaml:2:82: 'spiffe://td/ns/a/sa/b' would never match: principals are compared without spiffe://" },
        { $"policies:\n{Rule}[[[{{sourceIps: [10.0.0.0/33]}}]]]}}", "f.yaml:2:81: '10.0.0.0/33' is not a range of addresses; allowed are forms like 10.0.0.0/8, 2001:db8::/32 and single addresses" },
        { $"policies:\n{Rule}[[[{{destinationPorts: [http]}}]]]}}", "f.yaml:2:88: a port is 'http'; allowed are whole numbers from 0 to 65535" },
        { $"policies:\n{Rule}[{{}}]}}", "f.yaml:2:66: a rule must be a list, but is a mapping" },
        { "workloads: []\n---\nservices: []", "f.yaml:3:1: the file has more than one document; one is allowed" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_fault_is_told_with_its_place_and_what_is_allowed(string yaml, string expected) => Assert.Equal(expected, Fault(yaml).Message);

    [Theory]
    [InlineData("workloads: [\n", 2, 1)]
    [InlineData("services: []\nworkloads: []\nservices: []", 3, 1)]
    [InlineData("a: 'b", 1, 4)]
    public void What_is_not_YAML_is_told_with_its_place(string yaml, long line, long column)
    {
        var diagnostic = Assert.Single(Fault(yaml).Diagnostics);
        Assert.Equal((line, column), (diagnostic.Line, diagnostic.Column));
        Assert.StartsWith("not valid YAML: ", diagnostic.Message);
    }

    [Theory]
    [InlineData(33)]
    [InlineData(100_000)]
    public void What_nests_too_deep_is_told_and_does_not_exhaust_the_stack(int depth) => Assert.Equal(
        "f.yaml:1:33: nested deeper than 32 levels", Fault(new string('[', depth) + new string(']', depth)).Message);

    [Fact]
    public void All_faults_are_told_in_the_order_of_the_file()
    {
        var fault = Fault("policies:\n- {}\nworkloads:\n- {namespace: ns, workloadIps: [x], protocol: y}\n");
        Assert.Equal([2, 2, 2, 2, 2, 4, 4], fault.Diagnostics.Select(diagnostic => diagnostic.Line));
        Assert.Equal(fault.Message.Split(Environment.NewLine), fault.Diagnostics.Select(diagnostic => diagnostic.ToString()));
    }

    [Fact]
    public void A_file_that_is_wrong_from_end_to_end_gets_a_list_that_ends()
    {
        var fault = Fault("workloads:\n" + string.Concat(Enumerable.Repeat("- x\n", 500)));
        Assert.Equal(101, fault.Diagnostics.Length);
        Assert.Equal("f.yaml:1:1: 400 further faults are not listed", fault.Diagnostics[^1].ToString());
    }

    private static ConfigurationException Fault(string yaml) => Assert.Throws<ConfigurationException>(() => LocalConfiguration.Parse(yaml, "f.yaml"));

    [Fact]
    public void A_service_may_ask_its_clients_for_more_than_istio_has_words_for()
    {
        var service = LocalConfiguration.Parse("""
            services:
            - name: svc
              namespace: ns
              hostname: svc.example
              vips: [/10.96.0.1]
              ports: {80: 8080}
              x-trafficPolicy:
                connectTimeout: 1500ms
                connectRetries: 2
                maxConnections: 100
                connectionsPerSecond: 50
                outlierDetection: {consecutiveLocalOriginFailures: 3, baseEjectionTime: 10s, maxEjectionPercent: 50}
            """).Services[0];
        Assert.Equal(
            new L4TrafficPolicy
            {
                ConnectTimeout = TimeSpan.FromMilliseconds(1500),
                ConnectRetries = 2,
                MaxConnections = 100,
                ConnectionsPerSecond = 50,
                OutlierDetection = new OutlierDetection(3, TimeSpan.FromSeconds(10), 50),
            },
            service.TrafficPolicy);
    }

    [Theory]
    [InlineData("connectTimeout: 0s", "'connectTimeout' is '0s'; allowed are durations like 500ms, 30s, 1m30s, from 00:00:00.0010000 to 01:00:00")]
    [InlineData("connectTimeout: soon", "'connectTimeout' is 'soon'; allowed are")]
    [InlineData("connectRetries: 11", "'connectRetries' is '11'; allowed are whole numbers from 0 to 10")]
    [InlineData("maxConnections: 0", "'maxConnections' is '0'; allowed are")]
    [InlineData("outlierDetection: {maxEjectionPercent: 101}", "'maxEjectionPercent' is '101'; allowed are")]
    [InlineData("retries: 1", "unknown field 'retries'")]
    public void A_wrong_traffic_policy_is_refused(string field, string fault)
    {
        var error = Assert.Throws<ConfigurationException>(() => LocalConfiguration.Parse($$"""
            services:
            - {name: svc, namespace: ns, hostname: svc.example, vips: [/10.96.0.1], ports: {80: 8080}, x-trafficPolicy: {{{field}}} }
            """));
        Assert.Contains(fault, Assert.Single(error.Diagnostics).ToString(), StringComparison.Ordinal);
    }
}
