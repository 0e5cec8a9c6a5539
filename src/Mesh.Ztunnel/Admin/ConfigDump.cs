using System.Globalization;
using System.IO.Pipelines;
using System.Numerics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Admin;

/// <summary>All that the ztunnel knows, in the layout that <c>istioctl ztunnel-config</c> reads (ztunnel §10.4). Never a private key.</summary>
internal sealed partial class ConfigDump(AdminContext context, PipeWriter output) : JsonDump(output)
{
    /// <summary>Writes all.</summary>
    public async Task WriteAsync(CancellationToken cancellationToken)
    {
        var mesh = context.State.Current;
        Json.WriteStartObject();
        await ListAsync("workloads", mesh.Workloads.OrderBy(workload => workload.Uid, StringComparer.Ordinal), Workload, cancellationToken);
        await ListAsync("services", mesh.Services.OrderBy(service => service.Key.ToString(), StringComparer.Ordinal), service => Service(service, mesh.EndpointsOf(service.Key)), cancellationToken);
        await ListAsync("policies", mesh.Policies.Policies.OrderBy(policy => policy.Key, StringComparer.Ordinal), Policy, cancellationToken);

        // What stands ahead of its service or workload is kept in the mesh itself.
        Object("stagedServices", () => { });
        Object("staticConfig", StaticConfiguration);
        Object("version", Version);
        Object("config", Configuration);
        await ListAsync("certificates", context.Certificates.Status, Certificate, cancellationToken);
        Object("workloadState", () =>
        {
            foreach (var proxy in context.Proxies().OrderBy(proxy => proxy.Uid, StringComparer.Ordinal))
            {
                Object(proxy.Uid, () => WorkloadState(proxy));
            }
        });
        Json.WriteEndObject();
        await FlushAsync(0, cancellationToken);
    }

    /// <summary>Writes the certificates alone.</summary>
    public async Task WriteCertificatesAsync(CancellationToken cancellationToken)
    {
        await ListAsync(null, context.Certificates.Status, Certificate, cancellationToken);
        await FlushAsync(0, cancellationToken);
    }

    // As the file is now; what counts is what was read of it last without faults.
    private void StaticConfiguration()
    {
        LocalConfiguration? file = null;
        if (context.Options.LocalXdsPath is { } path)
        {
            try
            {
                file = LocalConfiguration.Load(path);
            }
            catch (Exception e) when (e is ConfigurationException or IOException or UnauthorizedAccessException)
            {
                Json.WriteString("error", e.Message);
            }
        }

        else if (context.Options.LocalXds is { } text)
        {
            file = LocalConfiguration.Parse(text, nameof(context.Options.LocalXds));
        }

        List("workloads", file?.Workloads ?? [], Workload);
        List("services", file?.Services ?? [], service => Service(service, endpoints: null));
        List("policies", file?.Policies ?? [], Policy);
    }

    private void Version()
    {
        var (version, revision) = BuildVersion.Current;
        Json.WriteString("version", version);
        Optional("gitRevision", revision);
        Json.WriteString("runtime", RuntimeInformation.FrameworkDescription);
    }

    private void Configuration()
    {
        var options = context.Options;
        Json.WriteString("proxyMode", options.Mode is ProxyMode.Shared ? "Shared" : "Dedicated");
        List("workloads", options.Workloads, workload => Json.WriteStringValue(workload.ToString()));
        Optional("cniSocketPath", options.Mode is ProxyMode.Shared ? options.CniSocketPath : null);
        Optional("localXdsPath", options.LocalXdsPath);
        Optional("localNode", options.NodeName);
        Json.WriteString("network", options.Network);
        List("trustDomainAliases", options.TrustDomainAliases.Names, name => Json.WriteStringValue(name.Name));
        Optional("listenAddress", options.ListenAddress?.ToString());
        Json.WriteBoolean("ipv6Enabled", options.IPv6Enabled);
        Json.WriteBoolean("socks5Enabled", options.Socks5Enabled);
        Json.WriteNumber("inboundPort", options.HbonePort);
        Json.WriteNumber("inboundPlaintextPort", options.InboundPassthroughPort);
        Json.WriteNumber("outboundPort", options.OutboundPort);
        Json.WriteNumber("socks5Port", options.Socks5Port);
        Json.WriteNumber("dnsProxyPort", options.DnsPort);
        Json.WriteBoolean("dnsProxy", options.DnsProxyEnabled);
        Json.WriteNumber("adminPort", options.AdminPort ?? 0);
        Json.WriteNumber("statsPort", options.StatsPort ?? 0);
        Json.WriteNumber("readinessPort", options.ReadinessPort);
        Json.WriteBoolean("requireWaypoint", options.RequireWaypoint);
        Json.WriteBoolean("localhostAppTunnel", options.LocalhostAppTunnel);
        Json.WriteBoolean("responseBaggage", options.ResponseBaggage);
        Json.WriteString("terminationDeadline", Seconds(options.TerminationDeadline));
        Json.WriteString("connectTimeout", Seconds(options.ConnectTimeout));
        Json.WriteNumber("poolMaxStreamsPerConn", options.Pool.MaxStreamsPerConnection);
        Json.WriteString("poolUnusedReleaseTimeout", Seconds(options.Pool.UnusedReleaseTimeout));
        Json.WriteNumber("windowSize", options.Hbone.StreamWindowSize);
        Json.WriteNumber("connectionWindowSize", options.Hbone.ConnectionWindowSize);
        Json.WriteNumber("frameSize", options.Hbone.MaxFrameSize);
        Optional("logLevel", context.LogLevels?.ToString());
    }

    private void Certificate(WorkloadCertificateStatus status)
    {
        Json.WriteStartObject();
        Json.WriteString("identity", status.Identity.ToString());
        Json.WriteString("state", status switch { { Certificate: not null } => "Available", { Error: { } error } => $"Unavailable: {error}", _ => "Initializing" });
        List("certChain", status.Certificate is { } certificate ? certificate.Chain.Insert(0, certificate.Leaf) : [], Certificate);
        List("rootCerts", context.Certificates.TrustBundle.RootsOf(status.Identity.TrustDomain), Certificate);
        Json.WriteEndObject();
    }

    // The PEM of a certificate has no key in it, whatever the certificate has.
    private void Certificate(X509Certificate2 certificate)
    {
        Json.WriteStartObject();
        Json.WriteString("pem", Convert.ToBase64String(Encoding.ASCII.GetBytes($"{certificate.ExportCertificatePem()}\n")));
        Json.WriteString("serialNumber", new BigInteger(certificate.SerialNumberBytes.Span, isUnsigned: true, isBigEndian: true).ToString(CultureInfo.InvariantCulture));
        Json.WriteString("validFrom", Time(certificate.NotBefore));
        Json.WriteString("expirationTime", Time(certificate.NotAfter));
        Json.WriteEndObject();
    }

    private void WorkloadState(ProxyStatus proxy)
    {
        var connections = proxy.Proxy?.Connections ?? [];
        Json.WriteString("state", proxy.State);
        Object("info", () =>
        {
            Json.WriteString("name", proxy.Info.Name);
            Json.WriteString("namespace", proxy.Info.Namespace);
            Json.WriteString("serviceAccount", proxy.Info.ServiceAccount);
        });
        Object("connections", () =>
        {
            List("inbound", Of(ConnectionDirection.Inbound), Connection);
            List("outbound", Of(ConnectionDirection.Outbound), Connection);
        });

        IEnumerable<ConnectionRecord> Of(ConnectionDirection direction) =>
            connections.Where(connection => connection.Direction == direction).Select(connection => connection.Record).OfType<ConnectionRecord>().OrderBy(record => record.Id);
    }

    private void Connection(ConnectionRecord record)
    {
        Json.WriteStartObject();
        Json.WriteString("src", record.Source.ToString());
        Optional("originalDst", record.Direction is ConnectionDirection.Outbound ? record.OriginalDestination?.ToString() : record.HboneAddress);
        Optional("actualDst", record.Destination?.ToString());
        Json.WriteString("protocol", record.HboneAddress is null ? "TCP" : "HBONE");
        Json.WriteEndObject();
    }

    private static string Time(DateTime local) => local.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static string Seconds(TimeSpan time) => $"{time.TotalSeconds.ToString(CultureInfo.InvariantCulture)}s";
}

/// <summary>What was built.</summary>
internal static class BuildVersion
{
    /// <summary>The version, and the revision of the sources when the build knew it.</summary>
    public static (string Version, string? Revision) Current { get; } = Read();

    private static (string Version, string? Revision) Read()
    {
        var text = typeof(BuildVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";
        var plus = text.IndexOf('+', StringComparison.Ordinal);
        return plus < 0 ? (text, null) : (text[..plus], text[(plus + 1)..]);
    }
}
