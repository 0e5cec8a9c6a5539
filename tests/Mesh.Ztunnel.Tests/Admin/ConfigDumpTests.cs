using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Numerics;
using System.Text;
using System.Text.Json.Nodes;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Admin;

/// <summary>The layout that <c>istioctl ztunnel-config</c> reads (ztunnel §10.4).</summary>
public sealed class ConfigDumpTests
{
    private static readonly Workload Cart = new()
    {
        Uid = "c1//Pod/shop/cart-0",
        Name = "cart-0",
        Namespace = "shop",
        ServiceAccount = "cart",
        Addresses = [IPAddress.Parse("10.0.0.2"), IPAddress.Parse("fd00::2")],
        Protocol = TunnelProtocol.Hbone,
        NetworkMode = NetworkMode.HostNetwork,
        Network = "net1",
        Waypoint = new GatewayAddress(new NamespacedHostname("shop", "waypoint.shop.svc.cluster.local"), 15008),
        NetworkGateway = new GatewayAddress(TestMesh.Address("10.9.9.9"), 15009),
        WorkloadName = "cart",
        WorkloadType = WorkloadType.CronJob,
        CanonicalName = "cart",
        CanonicalRevision = "v1",
        Hostname = "cart.example",
        Node = "n1",
        NativeTunnel = true,
        ApplicationTunnel = new ApplicationTunnel(ApplicationTunnelProtocol.Proxy, 15088),
        AuthorizationPolicies = ["shop/only-web"],
        Status = WorkloadStatus.Unhealthy,
        ClusterId = "c1",
        Locality = new Locality("r", "z", "s"),
        Capacity = 3,
        Services = ImmutableDictionary<NamespacedHostname, FrozenDictionary<int, int>>.Empty.Add(TestMesh.CartKey, TestMesh.Ports((80, 8080))),
    };

    private static readonly Workload Plain = new() { Uid = "c1//Pod/shop/plain", Name = "plain", Namespace = "shop", Addresses = [IPAddress.Parse("10.0.0.3")] };

    private static readonly Service CartService = TestMesh.CartService with
    {
        CidrVips = [new NetworkRange("net1", IPNetwork.Parse("10.97.0.0/16"))],
        SubjectAltNames = ["spiffe://cluster.local/ns/shop/sa/other"],
        Waypoint = TestMesh.GatewayAt("10.0.0.9"),
        WeightedWaypoints = [new WeightedWaypoint(TestMesh.GatewayAt("10.0.0.8"), 7)],
        LoadBalancing = new LoadBalancing(LoadBalancingMode.Failover, [RoutingScope.Network, RoutingScope.Zone], HealthPolicy.AllowAll),
        IPFamilies = IPFamilies.Dual,
        Canonical = true,
        Visibility = ServiceVisibility.Namespace,
    };

    private static readonly L4Authorization Policy = new()
    {
        Name = "only-web",
        Namespace = "shop",
        Scope = AuthorizationScope.WorkloadSelector,
        Action = AuthorizationAction.Allow,
        DryRun = true,
        Rules =
        [
            new AuthorizationRule(
                new AuthorizationClause(new AuthorizationMatch
                {
                    Principals = [StringMatch.Exact("cluster.local/ns/shop/sa/web"), StringMatch.Presence],
                    NotNamespaces = [StringMatch.Prefix("a"), StringMatch.Suffix("b")],
                    ServiceAccounts = [new ServiceAccountMatch("shop", "web")],
                }),
                new AuthorizationClause(new AuthorizationMatch { SourceIps = [IPNetwork.Parse("10.0.0.0/8")], NotDestinationPorts = [22] })),
        ],
    };

    [Fact]
    public async Task A_small_mesh_is_dumped_with_the_keys_of_ztunnel()
    {
        await using var stage = await AdminStage.StartAsync(stage => stage.State.Replace([Cart, Plain], [CartService], [Policy]));
        using var inbound = stage.Open(new ConnectionRecord
        {
            Direction = ConnectionDirection.Inbound,
            Source = IPEndPoint.Parse("10.0.0.1:40000"),
            Destination = IPEndPoint.Parse("10.0.0.2:15008"),
            HboneAddress = "cart.shop.svc.cluster.local:80",
        });
        using var outbound = stage.Open(new ConnectionRecord
        {
            Direction = ConnectionDirection.Outbound,
            Source = IPEndPoint.Parse("10.0.0.2:40001"),
            OriginalDestination = IPEndPoint.Parse("10.96.0.9:80"),
            Destination = IPEndPoint.Parse("10.0.0.5:8080"),
        });

        var dump = JsonNode.Parse(await stage.GetAsync("/config_dump"))!.AsObject();
        Assert.Equal(["workloads", "services", "policies", "stagedServices", "staticConfig", "version", "config", "certificates", "workloadState"], dump.Select(pair => pair.Key));
        Equal(
            """
            [
              {
                "workloadIps": ["10.0.0.2", "fd00::2"],
                "waypoint": {"destination": "shop/waypoint.shop.svc.cluster.local", "hboneMtlsPort": 15008},
                "networkGateway": {"destination": "/10.9.9.9", "hboneMtlsPort": 15009},
                "protocol": "HBONE", "networkMode": "HostNetwork", "uid": "c1//Pod/shop/cart-0", "name": "cart-0", "namespace": "shop",
                "trustDomain": "cluster.local", "serviceAccount": "cart", "network": "net1", "workloadName": "cart", "workloadType": "cronjob",
                "canonicalName": "cart", "canonicalRevision": "v1", "hostname": "cart.example", "node": "n1", "nativeTunnel": true,
                "applicationTunnel": {"protocol": "PROXY", "port": 15088}, "authorizationPolicies": ["shop/only-web"], "status": "Unhealthy",
                "clusterId": "c1", "locality": {"region": "r", "zone": "z", "subzone": "s"}, "services": ["shop/cart.shop.svc.cluster.local"], "capacity": 3
              },
              {
                "workloadIps": ["10.0.0.3"], "protocol": "TCP", "networkMode": "Standard", "uid": "c1//Pod/shop/plain", "name": "plain", "namespace": "shop",
                "trustDomain": "cluster.local", "serviceAccount": "default", "workloadType": "deployment", "status": "Healthy", "clusterId": "Kubernetes",
                "services": [], "capacity": 1
              }
            ]
            """,
            dump["workloads"]);
        Equal(
            """
            [{
              "name": "cart", "namespace": "shop", "hostname": "cart.shop.svc.cluster.local", "vips": ["/10.96.0.2"],
              "cidrVips": [{"network": "net1", "cidr": "10.97.0.0/16"}], "ports": {"80": 8080},
              "endpoints": {"c1//Pod/shop/cart-0": {"workloadUid": "c1//Pod/shop/cart-0", "port": {"80": 8080}, "status": "Unhealthy"}},
              "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/other"],
              "waypoint": {"destination": "/10.0.0.9", "hboneMtlsPort": 15008},
              "weightedWaypoints": [{"destination": {"destination": "/10.0.0.8", "hboneMtlsPort": 15008}, "weight": 7}],
              "loadBalancer": {"routingPreferences": ["Network", "Zone"], "mode": "Failover", "healthPolicy": "AllowAll"},
              "ipFamilies": "Dual", "canonical": true, "visibility": "Namespace"
            }]
            """,
            dump["services"]);
        Equal(
            """
            [{
              "name": "only-web", "namespace": "shop", "scope": "WorkloadSelector", "action": "Allow",
              "rules": [[
                [{
                  "notNamespaces": [{"Prefix": "a"}, {"Suffix": "b"}],
                  "serviceAccounts": [{"namespace": "shop", "serviceAccount": "web"}],
                  "principals": [{"Exact": "cluster.local/ns/shop/sa/web"}, {"Presence": []}]
                }],
                [{"sourceIps": ["10.0.0.0/8"], "notDestinationPorts": [22]}]
              ]],
              "dryRun": true
            }]
            """,
            dump["policies"]);
        Equal("{}", dump["stagedServices"]);
        Equal("""{"workloads": [], "services": [], "policies": []}""", dump["staticConfig"]);
        Equal(
            """
            {
              "uid-cart": {
                "state": "Up",
                "info": {"name": "cart", "namespace": "shop", "serviceAccount": "cart"},
                "connections": {
                  "inbound": [{"src": "10.0.0.1:40000", "originalDst": "cart.shop.svc.cluster.local:80", "actualDst": "10.0.0.2:15008", "protocol": "HBONE"}],
                  "outbound": [{"src": "10.0.0.2:40001", "originalDst": "10.96.0.9:80", "actualDst": "10.0.0.5:8080", "protocol": "TCP"}]
                }
              },
              "uid-late": {
                "state": "Pending",
                "info": {"name": "late", "namespace": "shop", "serviceAccount": "late"},
                "connections": {"inbound": [], "outbound": []}
              }
            }
            """,
            dump["workloadState"]);
        Assert.Equal("Dedicated", (string?)dump["config"]!["proxyMode"]);
    }

    [Fact]
    public async Task Certificates_are_shown_with_their_chain_and_roots_and_without_any_key()
    {
        await using var stage = await AdminStage.StartAsync();
        var certificate = await stage.Certificates.GetAsync(TestMesh.Cart.Identity);
        var text = await stage.GetAsync("/config_dump");
        var shown = JsonNode.Parse(text)!["certificates"]!.AsArray().Single()!;

        Assert.Equal(("spiffe://cluster.local/ns/shop/sa/cart", "Available"), ((string?)shown["identity"], (string?)shown["state"]));
        var leaf = shown["certChain"]!.AsArray()[0]!;
        Assert.Equal(["pem", "serialNumber", "validFrom", "expirationTime"], leaf.AsObject().Select(pair => pair.Key));
        var pem = Encoding.ASCII.GetString(Convert.FromBase64String((string)leaf["pem"]!));
        Assert.Equal($"{certificate.Leaf.ExportCertificatePem()}\n", pem);
        Assert.Equal(certificate.Leaf.SerialNumber.TrimStart('0'), BigInteger.Parse((string)leaf["serialNumber"]!, CultureInfo.InvariantCulture).ToString("X", CultureInfo.InvariantCulture).TrimStart('0'));
        Assert.Equal(certificate.NotAfter.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture), (string?)leaf["expirationTime"]);
        Assert.StartsWith("-----BEGIN CERTIFICATE-----", Encoding.ASCII.GetString(Convert.FromBase64String((string)shown["rootCerts"]!.AsArray().Single()!["pem"]!)), StringComparison.Ordinal);
        Equal(shown.ToJsonString(), JsonNode.Parse(await stage.GetAsync("/certificates"))!.AsArray().Single());
        foreach (var path in (string[])["/config_dump", "/certificates", "/connections"])
        {
            var all = await stage.GetAsync(path);
            Assert.DoesNotContain("PRIVATE", all, StringComparison.Ordinal);
            Assert.DoesNotContain(Convert.ToBase64String("PRIVATE KEY"u8)[..8], all, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_file_that_has_faults_by_now_is_told_and_the_rest_is_shown()
    {
        var file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, "workloads: {");
        await using var stage = await AdminStage.StartAsync(stage => stage.Options.LocalXdsPath = file);
        var dump = JsonNode.Parse(await stage.GetAsync("/config_dump"))!;
        Assert.Contains("not valid YAML", (string?)dump["staticConfig"]!["error"], StringComparison.Ordinal);
        File.Delete(file);
    }

    [Fact]
    public async Task A_mesh_of_many_workloads_is_dumped_whole()
    {
        await using var stage = await AdminStage.StartAsync(stage =>
            stage.State.Replace(Enumerable.Range(0, 5000).Select(i => TestMesh.Workload($"w{i}", $"10.1.{i / 250}.{1 + (i % 250)}")), [], []));
        Assert.Equal(5000, JsonNode.Parse(await stage.GetAsync("/config_dump"))!["workloads"]!.AsArray().Count);
    }

    [Fact]
    public async Task Open_connections_are_listed_with_who_they_are_and_why_they_may()
    {
        await using var stage = await AdminStage.StartAsync();
        using var open = stage.Open(new ConnectionRecord
        {
            Direction = ConnectionDirection.Inbound,
            Source = IPEndPoint.Parse("10.0.0.1:40000"),
            SourceWorkload = TestMesh.Web,
            SourceIdentity = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web"),
            Destination = IPEndPoint.Parse("10.0.0.2:15008"),
            HboneAddress = "10.0.0.2:8080",
            Decision = L4Authorizer.Authorize(L4PolicySet.Empty, TestMesh.Cart, new L4Connection(IPAddress.Parse("10.0.0.1"), null, IPEndPoint.Parse("10.0.0.2:8080"))),
        });
        stage.Time.Advance(TimeSpan.FromSeconds(2));
        var shown = JsonNode.Parse(await stage.GetAsync("/connections"))!.AsArray().Single()!;

        Assert.Equal(("inbound", true, 2000), ((string?)shown["direction"], (bool)shown["opened"]!, (int)shown["durationMs"]!));
        Equal("""{"address": "10.0.0.1:40000", "workload": "web", "namespace": "shop", "identity": "spiffe://cluster.local/ns/shop/sa/web"}""", shown["source"]);
        Assert.True((bool)shown["decision"]!["allowed"]!);
    }

    private static void Equal(string expected, JsonNode? actual) =>
        Assert.Equal(JsonNode.Parse(expected)!.ToJsonString(), actual!.ToJsonString());
}
