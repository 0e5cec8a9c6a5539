using System.Net;
using System.Net.Sockets;
using Mesh.Core.Identity;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;
using Mesh.Xds;
using Mesh.Xds.Client;
using Mesh.Ztunnel.Dns;

namespace Mesh.Ztunnel;

/// <summary>For whom a ztunnel is there (ztunnel §0).</summary>
public enum ProxyMode
{
    /// <summary>For the workloads that are named to it, in its own network namespace.</summary>
    Dedicated = 0,

    /// <summary>For the pods of its node, of which the CNI agent tells it, each in the network namespace of the pod.</summary>
    Shared = 1,
}

/// <summary>How a ztunnel behaves. Names and defaults are those of Istio's ztunnel (ztunnel §13).</summary>
public sealed class ZtunnelOptions
{
    /// <summary>For whom it is there. Default <see cref="ProxyMode.Dedicated"/>.</summary>
    public ProxyMode Mode { get; set; }

    /// <summary>Where the CNI agent listens, in shared mode. Default <c>/var/run/ztunnel/ztunnel.sock</c>.</summary>
    public string CniSocketPath { get; set; } = "/var/run/ztunnel/ztunnel.sock";

    /// <summary>In shared mode the pod of the ztunnel itself, to which it takes tunnels too; null to take none.</summary>
    public WorkloadInfo? Self { get; set; }

    /// <summary>In dedicated mode the workloads that it acts for; each gets a complete proxy of its own.</summary>
    public IList<WorkloadInfo> Workloads { get; } = [];

    /// <summary>A local YAML file with the mesh's workloads, services and policies; null when the state is filled by other means.</summary>
    public string? LocalXdsPath { get; set; }

    /// <summary>The same as a text; null for none. Both together are not allowed.</summary>
    public string? LocalXds { get; set; }

    /// <summary>The control plane that workloads, services and policies come from; null when the state is filled by other means.</summary>
    public ControlPlaneEndpoint? ControlPlane { get; set; }

    /// <summary>What the control plane is told of this ztunnel.</summary>
    public XdsNode Node { get; set; } = new("ztunnel~1.1.1.1~ztunnel.default~default.svc.cluster.local");

    /// <summary>Whether workloads and services are asked for when they are needed, instead of all being known from the start. Default false.</summary>
    public bool OnDemand { get; set; }

    /// <summary>Whether connections are carried; without, DNS alone is answered. Default true.</summary>
    public bool ProxyEnabled { get; set; } = true;

    /// <summary>Whether every decision of policy is told at level information instead of debug. Default false.</summary>
    public bool PolicyInfoLogging { get; set; }

    /// <summary>A file of certificate revocation lists, PEM or DER, that is looked at again and again; null for none.</summary>
    public string? RevocationListPath { get; set; }

    /// <summary>Other names of the workloads' trust domain: a peer of theirs is taken for the workload of the same path, by peers' certificates and by policies. Default: none.</summary>
    public TrustDomainAliases TrustDomainAliases { get; set; } = TrustDomainAliases.None;

    /// <summary>The node that it runs on; null to take its workloads to be on any.</summary>
    public string? NodeName { get; set; }

    /// <summary>The network that it runs in; empty for the default network.</summary>
    public string Network { get; set; } = "";

    /// <summary>What every listener binds to; null for all addresses.</summary>
    public IPAddress? ListenAddress { get; set; }

    /// <summary>Whether wildcard listeners take IPv6 too. Default true.</summary>
    public bool IPv6Enabled { get; set; } = true;

    /// <summary>Whether applications can use SOCKS5 to reach the mesh. Default false.</summary>
    public bool Socks5Enabled { get; set; }

    /// <summary>The port of inbound HBONE, here and at peers. 1 to 65535; default 15008.</summary>
    public int HbonePort { get; set; } = 15008;

    /// <summary>The port of redirected outbound connections. 1 to 65535; default 15001.</summary>
    public int OutboundPort { get; set; } = 15001;

    /// <summary>The port of redirected inbound connections in plain text. 1 to 65535; default 15006.</summary>
    public int InboundPassthroughPort { get; set; } = 15006;

    /// <summary>The port of SOCKS5. 1 to 65535; default 15080.</summary>
    public int Socks5Port { get; set; } = 15080;

    /// <summary>The port of the readiness probe, <c>/healthz/ready</c>. 1 to 65535; default 15021.</summary>
    public int ReadinessPort { get; set; } = 15021;

    /// <summary>
    /// The port of administration: the page for people, <c>/config_dump</c>, <c>/logging</c>, <c>/quitquitquit</c>; on the loopback addresses, or on
    /// <see cref="ListenAddress"/> when that is one of them. 1 to 65535, null for none; default 15000.
    /// </summary>
    public int? AdminPort { get; set; } = 15000;

    /// <summary>The port of the metrics, <c>/metrics</c>. 1 to 65535, null for none; default 15020.</summary>
    public int? StatsPort { get; set; } = 15020;

    /// <summary>Whether responses describe the destination to the client, and requests are believed what they say of the source. Default true.</summary>
    public bool ResponseBaggage { get; set; } = true;

    /// <summary>Whether an application with a PROXY tunnel is connected to by the loopback address instead of the workload's (ztunnel §8.4). Default true.</summary>
    public bool LocalhostAppTunnel { get; set; } = true;

    /// <summary>Whether a workload or service that has a waypoint takes traffic from it alone. Default false, as in Istio, which leaves it to policies.</summary>
    public bool RequireWaypoint { get; set; }

    /// <summary>How long open connections may go on once the ztunnel was told to stop. Default 5 seconds.</summary>
    public TimeSpan TerminationDeadline { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a connection waits for its own workload to appear in the state. Default 5 seconds.</summary>
    public TimeSpan WorkloadTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How long connecting to an application or a plain destination may take. Default 10 seconds.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How sockets are made: keep-alive, packet mark, whether clients' addresses are kept, whether ports are shared with another process.</summary>
    public SocketTransportOptions Sockets { get; set; } = new();

    /// <summary>Whether workloads' questions of DNS are answered, with the host names of the mesh. Default true.</summary>
    public bool DnsProxyEnabled { get; set; } = true;

    /// <summary>Where questions of DNS are taken; null for the loopback addresses, or <see cref="ListenAddress"/>.</summary>
    public IPAddress? DnsAddress { get; set; }

    /// <summary>The port of DNS, UDP and TCP. 1 to 65535; default 15053.</summary>
    public int DnsPort { get; set; } = 15053;

    /// <summary>How questions of DNS are answered.</summary>
    public DnsProxyOptions Dns { get; } = new();

    /// <summary>Windows, limits and times of HBONE connections.</summary>
    public HboneOptions Hbone { get; } = new() { InlineCompletions = true };

    /// <summary>Sharing of HBONE connections.</summary>
    public HbonePoolOptions Pool { get; } = new();

    // Administration is for who is on this machine, whatever the proxies listen on.
    internal bool AdminIsOnListenAddress => ListenAddress is { } address && IPAddress.IsLoopback(address);

    internal IPAddress Wildcard => IPv6Enabled && Socket.OSSupportsIPv6 ? IPAddress.IPv6Any : IPAddress.Any;

    /// <summary>Ports of ours that nobody's traffic may be sent to (ztunnel §1).</summary>
    internal bool IsIllegalPort(int port) => port == HbonePort || port == InboundPassthroughPort || port == OutboundPort || (Socks5Enabled && port == Socks5Port)

        // Else the mesh would reach it by the workload's address.
        || (AdminIsOnListenAddress && port == AdminPort);
}
