using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel.Dns;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel;

/// <summary>The settings of the executable: environment variables under the names of Istio's ztunnel, and a few of ours (ztunnel §13).</summary>
/// <remarks>A value that is wrong is reported with its name, the value and what is allowed; all of them at once.</remarks>
internal sealed partial class ZtunnelEnvironment
{
    // By which the rules that Istio's CNI puts into pods know our packets (ztunnel §12.4).
    private const uint InPodMark = 1337;

    private readonly IReadOnlyDictionary<string, string> _variables;
    private readonly List<string> _errors = [];

    private ZtunnelEnvironment(IReadOnlyDictionary<string, string> variables, ZtunnelOptions options)
    {
        _variables = variables;
        Options = options;
        Read();
    }

    /// <summary>The settings of the ztunnel.</summary>
    public ZtunnelOptions Options { get; }

    /// <summary>MESH_DEVELOPMENT_CA: the directory of the root to sign from; null when certificates come from <see cref="CertificateAuthority"/>.</summary>
    public string? DevelopmentCaDirectory { get; private set; }

    /// <summary>SECRET_TTL: how long certificates are to be valid.</summary>
    public TimeSpan CertificateLifetime { get; private set; } = TimeSpan.FromHours(24);

    /// <summary>LOG_FORMAT.</summary>
    public LogFormat LogFormat { get; private set; }

    /// <summary>RUST_LOG: what is logged.</summary>
    public LogLevels LogLevels { get; } = new();

    /// <summary>ZTUNNEL_WORKER_THREADS: how many threads poll sockets.</summary>
    public int WorkerThreadCount { get; private set; }

    /// <summary>What is wrong; empty when nothing is.</summary>
    public IReadOnlyList<string> Errors => _errors;

    /// <summary>Every setting with its default and meaning, for <c>--help</c>.</summary>
    public static IReadOnlyList<(string Name, string Default, string Meaning)> Settings { get; } =
    [
        ("PROXY_MODE", "shared", "shared: a proxy for each pod of the node; dedicated: one for the workload of PROXY_WORKLOAD_INFO"),
        ("PROXY_WORKLOAD_INFO", "(required)", "in dedicated mode: namespace/name/serviceAccount of the workload"),
        ("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock", "in shared mode: where the CNI agent listens"),
        ("INPOD_PORT_REUSE", "true", "in shared mode: let the next ztunnel listen on the same ports, to take them over"),
        ("POD_NAME, POD_NAMESPACE, SERVICE_ACCOUNT", "-", "in shared mode: the ztunnel's own pod, to take tunnels to it too"),
        ("XDS_ADDRESS", "istiod", "control plane that workloads, services and policies come from, host:port; empty for none, and none by default where LOCAL_XDS or LOCAL_XDS_PATH is set. istiod is istiod.istio-system.svc:15012 in Kubernetes, else localhost:15012"),
        ("XDS_ROOT_CA", "./var/run/secrets/istio/root-cert.pem", "who vouches for the control plane: a PEM file, the PEM text, or SYSTEM"),
        ("ALT_XDS_HOSTNAME", "-", "another name that the control plane's certificate may have"),
        ("XDS_ON_DEMAND", "false", "ask for workloads and services when they are needed; not together with ISTIO_META_DNS_CAPTURE"),
        ("XDS_HEADER_NAME", "-", "metadata NAME of calls to the control plane; any number"),
        ("CA_ADDRESS", "istiod", "certificate authority, host:port"),
        ("CA_ROOT_CA", "./var/run/secrets/istio/root-cert.pem", "who vouches for the certificate authority: as XDS_ROOT_CA"),
        ("ALT_CA_HOSTNAME", "-", "another name that the certificate authority's certificate may have"),
        ("CA_HEADER_NAME", "-", "metadata NAME of calls to the certificate authority; any number"),
        ("AUTH_TOKEN", "./var/run/secrets/tokens/istio-token", "token that both are shown, or its file, read again for each call; the default counts if the file is there"),
        ("CLUSTER_ID", "Kubernetes", "cluster that both are told; ISTIO_META_CLUSTER_ID goes before it"),
        ("INSTANCE_IP", "1.1.1.1", "address of the ztunnel, for the control plane"),
        ("ISTIO_META_NAME, ISTIO_METAJSON_NAME", "-", "what else the control plane is told of the node, as text or JSON; any number"),
        ("LOCAL_XDS_PATH", "-", "YAML file with workloads, services and policies; edits take effect while running"),
        ("LOCAL_XDS", "-", "the same as a text, in place of LOCAL_XDS_PATH"),
        ("MESH_DEVELOPMENT_CA", "-", "directory of the root to sign certificates from, in place of CA_ADDRESS; made when absent"),
        ("SPIFFE_ENDPOINT_SOCKET", "-", "SPIFFE agent that certificates come from, in place of CA_ADDRESS: unix:///path or tcp://IP:PORT; the agent must know the workloads as its own"),
        ("FAKE_CA", "false", "nothing else is allowed: MESH_DEVELOPMENT_CA is an authority for tests"),
        ("INPOD_ENABLED, TRUST_DOMAIN", "-", "nothing: PROXY_MODE and the control plane say it"),
        ("MESH_LISTEN_ADDRESS", "all", "address that listeners bind to; DNS, SOCKS5 and administration only if it is a loopback address"),
        ("CRL_PATH", "-", "file of certificate revocation lists, PEM or DER; edits take effect while running, on open connections too"),
        ("TRUST_DOMAIN_ALIASES", "-", "other names of the workloads' trust domain, separated by commas: peers of them are taken for the workloads of the same path"),
        ("MESH_ADMIN_PORT", "15000", "port of the page and commands of administration, on the loopback addresses, or MESH_LISTEN_ADDRESS if it is one; off for none"),
        ("MESH_STATS_PORT", "15020", "port of the metrics; off for none"),
        ("NODE_NAME", "any", "node that the workload runs on"),
        ("NETWORK", "(empty)", "network that the node is in"),
        ("UNSTABLE_ENABLE_SOCKS5", "false", "SOCKS5 on port 15080"),
        ("IPV6_ENABLED", "true", "listen on IPv6 too"),
        ("ENABLE_RESPONSE_BAGGAGE", "true", "describe the destination to the client, and read what it says of itself"),
        ("SECRET_TTL", "24h", "lifetime of certificates"),
        ("CONNECTION_TERMINATION_DEADLINE", "5s", "how long connections may go on at a stop"),
        ("TERMINATION_GRACE_PERIOD_SECONDS", "-", "the same, derived from the pod's grace period: s - 5 above 10, else s - 1"),
        ("POOL_MAX_STREAMS_PER_CONNECTION", "100", "tunnels on one HBONE connection"),
        ("POOL_UNUSED_RELEASE_TIMEOUT", "5m", "how long an unused HBONE connection is kept"),
        ("HTTP2_STREAM_WINDOW_SIZE", "4194304", "octets in flight on one tunnel"),
        ("HTTP2_CONNECTION_WINDOW_SIZE", "16777216", "octets in flight on one HBONE connection"),
        ("HTTP2_FRAME_SIZE", "1048576", "largest frame taken"),
        ("KEEPALIVE_ENABLED", "true", "TCP keep-alive"),
        ("KEEPALIVE_TIME", "180s", "silence before the first probe"),
        ("KEEPALIVE_INTERVAL", "180s", "time between probes"),
        ("KEEPALIVE_RETRIES", "9", "probes without an answer before a connection is given up"),
        ("ISTIO_META_DNS_CAPTURE", "true", "answer questions of DNS, with the host names of the mesh"),
        ("ISTIO_META_DNS_PROXY_ADDR", "localhost:15053", "where to: localhost:port for both loopback addresses, or address:port"),
        ("CLUSTER_DOMAIN", "cluster.local", "domain of the Kubernetes cluster, for DNS"),
        ("PREFERED_SERVICE_NAMESPACE", "-", "namespace whose service goes first among those of one host name, for DNS"),
        ("USER_TIMEOUT_ENABLED", "false", "end connections whose octets nobody acknowledges for as long as keep-alive would take"),
        ("PACKET_MARK", "1337, none", "mark of every packet (SO_MARK); the defaults of shared and dedicated mode"),
        ("ENABLE_ORIG_SRC", "auto", "keep clients' addresses towards applications: true, false, or, with a PACKET_MARK, where the system allows it"),
        ("LOCALHOST_APP_TUNNEL", "true", "reach applications with a PROXY tunnel by the loopback address"),
        ("MESH_REQUIRE_WAYPOINT", "false", "take traffic for what has a waypoint from the waypoint alone"),
        ("ENABLE_PROXY", "true", "carry connections; false leaves DNS alone"),
        ("AUTHZ_POLICY_INFO_LOGGING", "false", "tell of every decision of policy at info instead of debug"),
        ("PROXY_CONFIG", "-", "Istio's ProxyConfig in YAML or JSON: proxyAdminPort, statsPort, concurrency, proxyMetadata"),
        ("ZTUNNEL_WORKER_THREADS", "auto", "threads that poll sockets: a number, a percentage of the processors, or 0 for all of them"),
        ("ZTUNNEL_CPU_LIMIT", "-", "processors that may be used, for auto; ZTUNNEL_RESOURCE_CPU_LIMIT goes before it"),
        ("ZTUNNEL_RESOURCE_CPU_LIMIT", "-", "the same"),
        ("ZTUNNEL_RESOURCE_CPU_REQUEST", "-", "processors that are promised, for auto: at least as many threads"),
        ("TLS12_ENABLED", "false", "nothing else is allowed: inside the mesh there is TLS 1.3 only"),
        ("COMPLIANCE_POLICY", "-", "nothing is allowed: key exchange groups cannot be chosen"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "-", "collector of traces, metrics and logs (OTLP); the other OTEL_ variables of OpenTelemetry count too"),
        ("LOG_FORMAT", "plain", "plain or json"),
        ("RUST_LOG", "info", "error, warn, info, debug, trace or off; target=level for one target, several separated by commas"),
    ];

    /// <summary>Reads settings.</summary>
    /// <param name="variables">The variables, by name.</param>
    /// <param name="options">What to set; new ones when null.</param>
    public static ZtunnelEnvironment Read(IReadOnlyDictionary<string, string> variables, ZtunnelOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(variables);
        return new ZtunnelEnvironment(variables, options ?? new ZtunnelOptions());
    }

    private void Read()
    {
        Options.Mode = Choice("PROXY_MODE", ["shared", "dedicated"]) is "dedicated" ? ProxyMode.Dedicated : ProxyMode.Shared;
        ReadWorkload();
        ReadLocalConfiguration();
        ReadControlPlane();
        Options.RevocationListPath = Value("CRL_PATH");
        ReadTrustDomainAliases();
        Options.NodeName = Value("NODE_NAME");
        Options.Network = Value("NETWORK") ?? "";
        Options.ListenAddress = Address("MESH_LISTEN_ADDRESS");
        Options.AdminPort = AdminPort("MESH_ADMIN_PORT", Options.AdminPort);
        Options.StatsPort = AdminPort("MESH_STATS_PORT", Options.StatsPort);
        Options.Socks5Enabled = Flag("UNSTABLE_ENABLE_SOCKS5", Options.Socks5Enabled);
        Options.IPv6Enabled = Flag("IPV6_ENABLED", Options.IPv6Enabled);
        Options.ProxyEnabled = Flag("ENABLE_PROXY", Options.ProxyEnabled);
        Options.PolicyInfoLogging = Flag("AUTHZ_POLICY_INFO_LOGGING", Options.PolicyInfoLogging);
        Options.LocalhostAppTunnel = Flag("LOCALHOST_APP_TUNNEL", Options.LocalhostAppTunnel);
        Options.RequireWaypoint = Flag("MESH_REQUIRE_WAYPOINT", Options.RequireWaypoint);
        Options.ResponseBaggage = Flag("ENABLE_RESPONSE_BAGGAGE", Options.ResponseBaggage);
        var grace = Number("TERMINATION_GRACE_PERIOD_SECONDS", 0, 0, 86_400);
        var deadline = grace > 10 ? grace - 5 : grace > 0 ? Math.Max(grace - 1, 1) : (int)Options.TerminationDeadline.TotalSeconds;
        Options.TerminationDeadline = Duration("CONNECTION_TERMINATION_DEADLINE", TimeSpan.FromSeconds(deadline), TimeSpan.FromMilliseconds(1), TimeSpan.FromDays(1));
        Options.Pool.MaxStreamsPerConnection = Number("POOL_MAX_STREAMS_PER_CONNECTION", Options.Pool.MaxStreamsPerConnection, 1, int.MaxValue);
        Options.Pool.UnusedReleaseTimeout = Duration("POOL_UNUSED_RELEASE_TIMEOUT", Options.Pool.UnusedReleaseTimeout, TimeSpan.FromMilliseconds(1), TimeSpan.FromDays(1));
        Options.Hbone.StreamWindowSize = Number("HTTP2_STREAM_WINDOW_SIZE", Options.Hbone.StreamWindowSize, 65_535, int.MaxValue);
        Options.Hbone.ConnectionWindowSize = Number("HTTP2_CONNECTION_WINDOW_SIZE", Options.Hbone.ConnectionWindowSize, 65_535, int.MaxValue);
        Options.Hbone.MaxFrameSize = Number("HTTP2_FRAME_SIZE", Options.Hbone.MaxFrameSize, 16_384, 16_777_215);
        ReadSockets();
        ReadDns();
        ReadWorkerThreads();
        Choice("TLS12_ENABLED", ["false"]);
        if (Value("COMPLIANCE_POLICY") is { } compliance)
        {
            Fault("COMPLIANCE_POLICY", compliance, "none: key exchange groups cannot be chosen");
        }

        LogFormat = Choice("LOG_FORMAT", ["plain", "json"]) is "json" ? LogFormat.Json : LogFormat.Plain;
        ReadLogLevels();
    }

    private void ReadLocalConfiguration()
    {
        if (Value("LOCAL_XDS") is not { } inline)
        {
            Options.LocalXdsPath = Value("LOCAL_XDS_PATH") is null ? null : ReadableFile("LOCAL_XDS_PATH", "the path of a YAML file that can be read");
            return;
        }

        Options.LocalXds = inline;
        if (Value("LOCAL_XDS_PATH") is { } path)
        {
            Fault("LOCAL_XDS_PATH", path, "nothing, as LOCAL_XDS is set too");
        }
    }

    private void ReadTrustDomainAliases()
    {
        const string Name = "TRUST_DOMAIN_ALIASES";
        if (TrustDomainAliases.TryParse(Value(Name), out var aliases, out var error))
        {
            Options.TrustDomainAliases = aliases;
        }
        else
        {
            Fault(Name, Value(Name)!, $"trust domains, separated by commas ({error})");
        }
    }

    private void ReadWorkerThreads()
    {
        const string Name = "ZTUNNEL_WORKER_THREADS";
        var request = Number("ZTUNNEL_RESOURCE_CPU_REQUEST", 0, 0, 1024);
        var limit = Number("ZTUNNEL_RESOURCE_CPU_LIMIT", Number("ZTUNNEL_CPU_LIMIT", 0, 0, 1024), 0, 1024);
        if (!WorkerThreads.TryRead(Value(Name), request, limit, Environment.ProcessorCount, out var count))
        {
            Fault(Name, Value(Name)!, WorkerThreads.Allowed);
        }

        WorkerThreadCount = count;
    }

    private void ReadWorkload()
    {
        const string Name = "PROXY_WORKLOAD_INFO";
        const string Allowed = "namespace/name/serviceAccount";
        if (Options.Mode is ProxyMode.Shared)
        {
            Options.CniSocketPath = Value("INPOD_UDS") ?? Options.CniSocketPath;
            Options.Self = (Value("POD_NAMESPACE"), Value("POD_NAME"), Value("SERVICE_ACCOUNT")) is ({ } podNamespace, { } pod, { } account)
                ? new WorkloadInfo(podNamespace, pod, account)
                : null;
            return;
        }

        if (Required(Name, Allowed) is not { } value)
        {
            return;
        }

        if (value.Split('/') is [{ Length: > 0 } ns, { Length: > 0 } name, { Length: > 0 } serviceAccount])
        {
            Options.Workloads.Add(new WorkloadInfo(ns, name, serviceAccount));
            return;
        }

        Fault(Name, value, Allowed);
    }

    private void ReadSockets()
    {
        var standard = TcpKeepAlive.Default;
        var day = TimeSpan.FromDays(1);
        var keepAlive = new TcpKeepAlive(
            Duration("KEEPALIVE_TIME", standard.Idle, TimeSpan.FromSeconds(1), day),
            Duration("KEEPALIVE_INTERVAL", standard.Interval, TimeSpan.FromSeconds(1), day),
            Number("KEEPALIVE_RETRIES", standard.Probes, 1, 127));
        var isShared = Options.Mode is ProxyMode.Shared;
        uint? mark = Value("PACKET_MARK") is not null ? (uint)Number("PACKET_MARK", 0, 1, int.MaxValue) : isShared ? InPodMark : null;

        // Replies to an address that is not ours come back only where rules lead them back, and those go by the mark.
        var transparent = mark is null ? TransparentMode.Never : TransparentMode.IfPossible;
        Options.Sockets = Options.Sockets with
        {
            KeepAlive = Flag("KEEPALIVE_ENABLED", true) ? keepAlive : null,
            UserTimeout = Flag("USER_TIMEOUT_ENABLED", false),
            PacketMark = mark,
            SharePorts = isShared && Flag("INPOD_PORT_REUSE", true),
            Transparent = Value("ENABLE_ORIG_SRC") is null ? transparent : Flag("ENABLE_ORIG_SRC", false) ? TransparentMode.Required : TransparentMode.Never,
        };
    }

    private void ReadDns()
    {
        Options.DnsProxyEnabled = Value("ISTIO_META_DNS_CAPTURE")?.Equals("true", StringComparison.OrdinalIgnoreCase) ?? Options.DnsProxyEnabled;
        ReadDnsAddress();
        Options.Dns.ClusterDomain = Value("CLUSTER_DOMAIN") ?? Options.Dns.ClusterDomain;
        Options.Dns.PreferredServiceNamespace = Value("PREFERED_SERVICE_NAMESPACE");
        Options.Dns.IPv6Enabled = Options.IPv6Enabled;

        // A pod's resolver is made by Kubernetes; that of a machine is its administrator's (ztunnel §11).
        Options.Dns.SearchDomains = Options.Mode is ProxyMode.Dedicated ? ResolvConf.Read(ResolvConf.Path).SearchDomains : null;
    }

    private void ReadDnsAddress()
    {
        const string Name = "ISTIO_META_DNS_PROXY_ADDR";
        if (Value(Name) is not { } value)
        {
            return;
        }

        const string Localhost = "localhost:";
        if (value.StartsWith(Localhost, StringComparison.Ordinal) && int.TryParse(value.AsSpan(Localhost.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= IPEndPoint.MaxPort)
        {
            Options.DnsPort = port;
        }
        else if (IPEndPoint.TryParse(value, out var address) && address.Port > 0 && NetworkAddress.TryParseAddress(address.Address.ToString(), out _))
        {
            Options.DnsAddress = address.Address;
            Options.DnsPort = address.Port;
        }
        else
        {
            Fault(Name, value, $"localhost:port or address:port, with a port from 1 to {IPEndPoint.MaxPort}");
        }
    }

    private void ReadLogLevels()
    {
        const string Name = "RUST_LOG";
        var rules = new List<KeyValuePair<string, LogLevel>>();
        foreach (var part in (Value(Name) ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (LogLevels.TryParse(part, out KeyValuePair<string, LogLevel> rule))
            {
                rules.Add(rule);
            }
            else
            {
                Fault(Name, part, LogLevels.Allowed);
            }
        }

        LogLevels.Initialize(rules);
    }

    private int? AdminPort(string name, int? fallback) => Value(name) is "off" ? null : Value(name) is null ? fallback : Number(name, 0, 1, IPEndPoint.MaxPort);

    private string? Value(string name) => _variables.TryGetValue(name, out var value) && value.Length > 0 ? value : null;

    private string? Required(string name, string allowed)
    {
        if (Value(name) is { } value)
        {
            return value;
        }

        _errors.Add($"{name} is not set; it must be {allowed}");
        return null;
    }

    private string? Choice(string name, string[] choices)
    {
        var value = Value(name);
        if (value is not null && !choices.Contains(value, StringComparer.OrdinalIgnoreCase))
        {
            Fault(name, value, string.Join(", ", choices));
        }

        return value?.ToLowerInvariant();
    }

    private bool Flag(string name, bool fallback)
    {
        switch (Value(name)?.ToLowerInvariant())
        {
            case null:
                return fallback;
            case "true" or "1":
                return true;
            case "false" or "0":
                return false;
            case { } other:
                Fault(name, other, "true, false");
                return fallback;
        }
    }

    private int Number(string name, int fallback, int min, int max)
    {
        if (Value(name) is not { } value)
        {
            return fallback;
        }

        if (int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= min && number <= max)
        {
            return number;
        }

        Fault(name, value, $"whole numbers from {min} to {max}");
        return fallback;
    }

    private TimeSpan Duration(string name, TimeSpan fallback, TimeSpan min, TimeSpan max)
    {
        if (Value(name) is not { } value)
        {
            return fallback;
        }

        if (DurationText.TryParse(value, out var duration) && duration >= min && duration <= max)
        {
            return duration;
        }

        Fault(name, value, $"durations like 5m, 90s, 1h30m, from {min} to {max}");
        return fallback;
    }

    private IPAddress? Address(string name)
    {
        if (Value(name) is not { } value)
        {
            return null;
        }

        if (NetworkAddress.TryParseAddress(value, out var address) && IsOfThisMachine(address))
        {
            return address;
        }

        Fault(name, value, "IPv4 and IPv6 addresses of this machine");
        return null;
    }

    private string? ReadableFile(string name, string allowed)
    {
        if (Required(name, allowed) is not { } path)
        {
            return null;
        }

        try
        {
            File.OpenHandle(path).Dispose();
            return path;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Fault(name, path, allowed);
            return null;
        }
    }

    private static bool IsOfThisMachine(IPAddress address)
    {
        using var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            socket.Bind(new IPEndPoint(address, 0));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private void Fault(string name, string value, string allowed) => _errors.Add($"{name} is '{value}'; allowed: {allowed}");

    /// <summary>Whether a name is that of a setting, of ours or of Istio's ztunnel.</summary>
    public static bool IsKnown(string name) =>
        name.StartsWith("OTEL_", StringComparison.Ordinal) || Array.Exists(Prefixes, prefix => name.StartsWith(prefix, StringComparison.Ordinal)) || Settings.Any(setting => setting.Name.Split(", ").Contains(name));
}
