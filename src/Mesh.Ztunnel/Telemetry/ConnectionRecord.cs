using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Hbone;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>Which side of a proxied connection a record is about.</summary>
public enum ConnectionDirection
{
    /// <summary>From a workload here to somewhere.</summary>
    Outbound,

    /// <summary>From somewhere to a workload here.</summary>
    Inbound,
}

/// <summary>How a connection went. Numbers never change.</summary>
public enum ConnectionOutcome
{
    /// <summary>It was proxied and has ended.</summary>
    Complete = 0,

    /// <summary>It could not be proxied, or was lost.</summary>
    Failed = 1,

    /// <summary>Authorization policy denied it.</summary>
    Denied = 2,

    /// <summary>It never came as far as a request with a workload.</summary>
    Rejected = 3,
}

/// <summary>What is known of one proxied connection (ztunnel §10.3). Filled while it runs, published once when it ends.</summary>
public sealed class ConnectionRecord
{
    /// <summary>Which side this is.</summary>
    public required ConnectionDirection Direction { get; init; }

    /// <summary>The client's address.</summary>
    public required IPEndPoint Source { get; init; }

    /// <summary>The client's workload; null when unknown.</summary>
    public Workload? SourceWorkload { get; set; }

    /// <summary>The identity that the client proved on the wire; null for plain text.</summary>
    public SpiffeId? SourceIdentity { get; set; }

    /// <summary>What the client says of itself; used where its workload is not known.</summary>
    public Baggage? SourceBaggage { get; set; }

    /// <summary>Outbound the next hop; inbound the address that the client connected to.</summary>
    public IPEndPoint? Destination { get; set; }

    /// <summary>The target named inside the tunnel; null for plain text.</summary>
    public string? HboneAddress { get; set; }

    /// <summary>The service that was addressed; null when none is known.</summary>
    public Service? DestinationService { get; set; }

    /// <summary>The workload at the destination; null when unknown.</summary>
    public Workload? DestinationWorkload { get; set; }

    /// <summary>The identity that the destination proved, or that we proved for it; null for plain text.</summary>
    public SpiffeId? DestinationIdentity { get; set; }

    /// <summary>What the destination says of itself; used where its workload is not known.</summary>
    public Baggage? DestinationBaggage { get; set; }

    /// <summary>What policy decided; null where it was not asked.</summary>
    public L4Decision? Decision { get; set; }

    /// <summary>How it went.</summary>
    public ConnectionOutcome Outcome { get; set; }

    /// <summary>What went wrong; null when nothing did.</summary>
    public string? Error { get; set; }

    /// <summary>The time from accepting to the end.</summary>
    public TimeSpan Duration { get; internal set; }

    /// <summary>Octets that the workload here has sent: outbound those of the request, inbound those of the response.</summary>
    public long BytesSent => Counters.ToTunnel;

    /// <summary>Octets that the workload here has received.</summary>
    public long BytesReceived => Counters.FromTunnel;

    internal RelayCounters Counters { get; } = new();
}
