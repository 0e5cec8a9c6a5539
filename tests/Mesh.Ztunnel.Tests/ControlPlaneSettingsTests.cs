using Mesh.Xds;

namespace Mesh.Ztunnel;

/// <summary>The settings by which Istio's chart starts a ztunnel (ztunnel §13), and those of control plane and certificate authority.</summary>
public sealed class ControlPlaneSettingsTests
{
    /// <summary>What the environment of the DaemonSet holds, as Istio's chart writes it.</summary>
    private static readonly Dictionary<string, string> Chart = new()
    {
        ["CA_ADDRESS"] = "istiod.istio-system.svc:15012",
        ["XDS_ADDRESS"] = "istiod.istio-system.svc:15012",
        ["RUST_LOG"] = "info",
        ["RUST_BACKTRACE"] = "1",
        ["ISTIO_META_CLUSTER_ID"] = "cluster-7",
        ["INPOD_ENABLED"] = "true",
        ["TERMINATION_GRACE_PERIOD_SECONDS"] = "30",
        ["POD_NAME"] = "ztunnel-abcde",
        ["POD_NAMESPACE"] = "istio-system",
        ["NODE_NAME"] = "node-1",
        ["INSTANCE_IP"] = "10.1.2.3",
        ["SERVICE_ACCOUNT"] = "ztunnel",
        ["ISTIO_META_ENABLE_HBONE"] = "true",
        ["ZTUNNEL_CPU_LIMIT"] = "2",
        ["KUBERNETES_SERVICE_HOST"] = "10.96.0.1",
    };

    [Fact]
    public void The_environment_of_the_chart_is_taken_as_it_is()
    {
        var environment = ZtunnelEnvironment.Read(Chart);

        Assert.Empty(environment.Errors);
        Assert.Equal(ProxyMode.Shared, environment.Options.Mode);
        Assert.Equal(new Uri("https://istiod.istio-system.svc:15012"), environment.Options.ControlPlane!.Address);
        Assert.Equal("./var/run/secrets/istio/root-cert.pem", environment.Options.ControlPlane.RootCertificates);
        Assert.Equal([KeyValuePair.Create("clusterid", "cluster-7")], environment.Options.ControlPlane.Metadata);
        Assert.Equal("ztunnel~10.1.2.3~ztunnel-abcde.istio-system~istio-system.svc.cluster.local", environment.Options.Node.Id);
        Assert.Equal(
            """{"NAME":"ztunnel-abcde","NAMESPACE":"istio-system","INSTANCE_IPS":"10.1.2.3","NODE_NAME":"node-1","CLUSTER_ID":"cluster-7","ENABLE_HBONE":"true"}""",
            environment.Options.Node.Metadata.ToJsonString());
        Assert.Equal(TimeSpan.FromSeconds(25), environment.Options.TerminationDeadline);
        Assert.Equal(TimeSpan.FromHours(24), environment.CertificateAuthority!.Lifetime);
        Assert.True(environment.CertificateAuthority.Impersonate);
        Assert.Null(environment.DevelopmentCaDirectory);
    }

    /// <summary>§13, each row with a value that is allowed; all are known, and none is a fault.</summary>
    [Theory]
    [InlineData("PROXY_MODE", "shared")]
    [InlineData("ENABLE_PROXY", "true")]
    [InlineData("NODE_NAME", "n1")]
    [InlineData("NETWORK", "network1")]
    [InlineData("CLUSTER_ID", "c1")]
    [InlineData("CLUSTER_DOMAIN", "cluster.example")]
    [InlineData("POD_NAME", "z")]
    [InlineData("POD_NAMESPACE", "istio-system")]
    [InlineData("SERVICE_ACCOUNT", "ztunnel")]
    [InlineData("INSTANCE_IP", "10.0.0.1")]
    [InlineData("TRUST_DOMAIN", "cluster.local")]
    [InlineData("XDS_ADDRESS", "istiod:15012")]
    [InlineData("CA_ADDRESS", "https://istiod:15012")]
    [InlineData("XDS_ROOT_CA", "SYSTEM")]
    [InlineData("CA_ROOT_CA", "SYSTEM")]
    [InlineData("ALT_XDS_HOSTNAME", "istiod.example")]
    [InlineData("ALT_CA_HOSTNAME", "istiod.example")]
    [InlineData("AUTH_TOKEN", "a-token")]
    [InlineData("XDS_HEADER_X-Foo", "bar")]
    [InlineData("CA_HEADER_X-Foo", "bar")]
    [InlineData("XDS_ON_DEMAND", "false")]
    [InlineData("PROXY_WORKLOAD_INFO", "shop/web-0/web")]
    [InlineData("LOCAL_XDS", "workloads: []")]
    [InlineData("FAKE_CA", "false")]
    [InlineData("SECRET_TTL", "1h30m")]
    [InlineData("PREFERED_SERVICE_NAMESPACE", "shop")]
    [InlineData("ISTIO_META_DNS_CAPTURE", "true")]
    [InlineData("ISTIO_META_DNS_PROXY_ADDR", "localhost:15053")]
    [InlineData("ISTIO_META_ISTIO_VERSION", "1.28.0")]
    [InlineData("ISTIO_METAJSON_LABELS", """{"app":"ztunnel"}""")]
    [InlineData("INPOD_UDS", "/run/zds.sock")]
    [InlineData("INPOD_PORT_REUSE", "false")]
    [InlineData("INPOD_ENABLED", "true")]
    [InlineData("PACKET_MARK", "1338")]
    [InlineData("ENABLE_ORIG_SRC", "false")]
    [InlineData("IPV6_ENABLED", "false")]
    [InlineData("LOCALHOST_APP_TUNNEL", "false")]
    [InlineData("ENABLE_RESPONSE_BAGGAGE", "false")]
    [InlineData("UNSTABLE_ENABLE_SOCKS5", "true")]
    [InlineData("POOL_MAX_STREAMS_PER_CONNECTION", "50")]
    [InlineData("POOL_UNUSED_RELEASE_TIMEOUT", "1m")]
    [InlineData("HTTP2_STREAM_WINDOW_SIZE", "1048576")]
    [InlineData("HTTP2_CONNECTION_WINDOW_SIZE", "1048576")]
    [InlineData("HTTP2_FRAME_SIZE", "65536")]
    [InlineData("KEEPALIVE_ENABLED", "false")]
    [InlineData("KEEPALIVE_TIME", "60s")]
    [InlineData("KEEPALIVE_INTERVAL", "10s")]
    [InlineData("KEEPALIVE_RETRIES", "3")]
    [InlineData("USER_TIMEOUT_ENABLED", "true")]
    [InlineData("CONNECTION_TERMINATION_DEADLINE", "10s")]
    [InlineData("TERMINATION_GRACE_PERIOD_SECONDS", "60")]
    [InlineData("ZTUNNEL_WORKER_THREADS", "50%")]
    [InlineData("ZTUNNEL_RESOURCE_CPU_LIMIT", "4")]
    [InlineData("ZTUNNEL_RESOURCE_CPU_REQUEST", "2")]
    [InlineData("ZTUNNEL_CPU_LIMIT", "4")]
    [InlineData("CRL_PATH", "/var/run/secrets/istio/crl/ca-crl.pem")]
    [InlineData("TLS12_ENABLED", "false")]
    [InlineData("AUTHZ_POLICY_INFO_LOGGING", "true")]
    [InlineData("RUST_LOG", "debug")]
    [InlineData("LOG_FORMAT", "json")]
    [InlineData("PROXY_CONFIG", "concurrency: 2")]
    public void Every_setting_of_istios_ztunnel_is_known(string name, string value)
    {
        Assert.True(ZtunnelEnvironment.IsKnown(name));
        Assert.Empty(ZtunnelEnvironment.Read(new Dictionary<string, string>(Chart) { [name] = value }).Errors);
    }

    [Theory]
    [InlineData("XDS_ADDRESS", "http://istiod:15012", "XDS_ADDRESS is 'http://istiod:15012'; allowed: host:port, https://host:port")]
    [InlineData("CA_ADDRESS", "istiod:15012/path", "CA_ADDRESS is 'istiod:15012/path'; allowed: host:port, https://host:port")]
    [InlineData("CA_ADDRESS", "", "CA_ADDRESS is empty, and neither MESH_DEVELOPMENT_CA nor SPIFFE_ENDPOINT_SOCKET is set; one of them must be")]
    [InlineData("XDS_ADDRESS", "", "XDS_ADDRESS is empty, and neither LOCAL_XDS_PATH nor LOCAL_XDS is set; one of them must be")]
    [InlineData("SPIFFE_ENDPOINT_SOCKET", "/run/agent.sock", "SPIFFE_ENDPOINT_SOCKET is '/run/agent.sock'; allowed: unix:///path, tcp://IP:PORT")]
    [InlineData("FAKE_CA", "true", "FAKE_CA is 'true'; allowed: false; MESH_DEVELOPMENT_CA is an authority for tests")]
    [InlineData("XDS_HEADER_", "x", "XDS_HEADER_ is not usable; allowed: names of letters, digits, '-', '_' and '.', with values of printable ASCII")]
    [InlineData("CA_HEADER_X", "a\nb", "CA_HEADER_X is not usable; allowed: names of letters, digits, '-', '_' and '.', with values of printable ASCII")]
    public void A_wrong_one_is_refused_with_what_is_allowed(string name, string value, string error) =>
        Assert.Equal([error], ZtunnelEnvironment.Read(new Dictionary<string, string>(Chart) { [name] = value }).Errors);

    [Fact]
    public void Metadata_that_is_no_json_is_refused() => Assert.StartsWith(
        "ISTIO_METAJSON_LABELS is '{'; allowed: JSON (", Assert.Single(ZtunnelEnvironment.Read(new Dictionary<string, string>(Chart) { ["ISTIO_METAJSON_LABELS"] = "{" }).Errors));

    [Theory]
    [InlineData(true, "https://istiod.istio-system.svc:15012")]
    [InlineData(false, "https://localhost:15012")]
    public void Without_an_address_it_is_istiod_of_the_cluster_or_of_this_machine(bool inKubernetes, string address)
    {
        var variables = inKubernetes ? new Dictionary<string, string> { ["KUBERNETES_SERVICE_HOST"] = "10.96.0.1" } : [];
        var environment = ZtunnelEnvironment.Read(variables);

        Assert.Empty(environment.Errors);
        Assert.Equal(new Uri(address), environment.Options.ControlPlane!.Address);
        Assert.Equal(new Uri(address), environment.CertificateAuthority!.Endpoint.Address);
        Assert.Null(environment.Options.ControlPlane.Token);
    }

    [Fact]
    public void A_mesh_from_a_file_needs_no_control_plane_unless_one_is_named()
    {
        Assert.Null(ZtunnelEnvironment.Read(new Dictionary<string, string> { ["LOCAL_XDS"] = "workloads: []" }).Options.ControlPlane);
        Assert.NotNull(ZtunnelEnvironment.Read(new Dictionary<string, string> { ["LOCAL_XDS"] = "workloads: []", ["XDS_ADDRESS"] = "istiod:15012" }).Options.ControlPlane);
    }

    [Fact]
    public void Each_has_its_own_headers_names_and_roots()
    {
        var environment = ZtunnelEnvironment.Read(new Dictionary<string, string>(Chart)
        {
            ["XDS_HEADER_X-One"] = "1",
            ["CA_HEADER_X-Two"] = "2",
            ["ALT_XDS_HOSTNAME"] = "xds.example",
            ["ALT_CA_HOSTNAME"] = "ca.example",
            ["XDS_ROOT_CA"] = "SYSTEM",
            ["AUTH_TOKEN"] = "/token",
            ["ISTIO_META_DNS_CAPTURE"] = "false",
            ["XDS_ON_DEMAND"] = "true",
        });

        ControlPlaneEndpoint xds = environment.Options.ControlPlane!, ca = environment.CertificateAuthority!.Endpoint;
        Assert.Equal(("1", "2"), (xds.Metadata.Single(one => one.Key == "x-one").Value, ca.Metadata.Single(one => one.Key == "x-two").Value));
        Assert.Equal(("xds.example", "ca.example"), (xds.AlternativeHostname, ca.AlternativeHostname));
        Assert.Equal(("SYSTEM", "./var/run/secrets/istio/root-cert.pem"), (xds.RootCertificates, ca.RootCertificates));
        Assert.Equal(("/token", "/token"), (xds.Token, ca.Token));
        Assert.True(environment.Options.OnDemand);
        Assert.True(new ZtunnelOptionsValidator().Validate(null, environment.Options).Succeeded);
    }

    [Fact]
    public void On_demand_and_dns_exclude_each_other()
    {
        var options = ZtunnelEnvironment.Read(new Dictionary<string, string>(Chart) { ["XDS_ON_DEMAND"] = "true" }).Options;

        Assert.Equal(["OnDemand and DnsProxyEnabled are both true; one of them is allowed: DNS must know all names"], new ZtunnelOptionsValidator().Validate(null, options).Failures);
    }

    [Fact]
    public void A_proxy_for_one_workload_asks_in_its_own_name() =>
        Assert.False(ZtunnelEnvironment.Read(new Dictionary<string, string>(Chart) { ["PROXY_MODE"] = "dedicated", ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web" }).CertificateAuthority!.Impersonate);

    [Fact]
    public void The_discovery_address_of_the_proxy_config_is_that_of_both()
    {
        var settings = ProxyConfig.Read("discoveryAddress: istiod.mesh:15012", isMeshConfig: false);

        Assert.Equal(("istiod.mesh:15012", "istiod.mesh:15012"), (settings["XDS_ADDRESS"], settings["CA_ADDRESS"]));
    }
}
