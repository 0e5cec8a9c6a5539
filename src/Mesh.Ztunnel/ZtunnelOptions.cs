using System.Net;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;

namespace Mesh.Ztunnel;

/// <summary>How a ztunnel behaves. Names and defaults are those of Istio's ztunnel (ztunnel §13).</summary>
public sealed class ZtunnelOptions
{
    /// <summary>The workloads that it acts for; each gets a complete proxy of its own. Dedicated mode has exactly one.</summary>
    public IList<WorkloadInfo> Workloads { get; } = [];

    /// <summary>A local YAML file with the mesh's workloads, services and policies; null when the state is filled by other means.</summary>
    public string? LocalXdsPath { get; set; }

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

    /// <summary>Windows, limits and times of HBONE connections.</summary>
    public HboneOptions Hbone { get; } = new() { InlineCompletions = true };

    /// <summary>Sharing of HBONE connections.</summary>
    public HbonePoolOptions Pool { get; } = new();

    /// <summary>Ports of ours that nobody's traffic may be sent to (ztunnel §1).</summary>
    internal bool IsIllegalPort(int port) => port == HbonePort || port == InboundPassthroughPort || port == OutboundPort || (Socks5Enabled && port == Socks5Port);
}
