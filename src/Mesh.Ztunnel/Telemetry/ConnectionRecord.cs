using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Ztunnel.Outbound;

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

/// <summary>What a failed connection failed of, as telemetry labels it (ztunnel §10.2). Numbers never change.</summary>
public enum ResponseFlag
{
    /// <summary>It did not fail: <c>-</c>.</summary>
    None = 0,

    /// <summary>Policy denied it: <c>DENY</c>.</summary>
    Deny = 1,

    /// <summary>It could not be connected, or was lost: <c>CONNECT</c>.</summary>
    Connect = 2,

    /// <summary>The TLS handshake failed: <c>TLS_FAILURE</c>.</summary>
    TlsFailure = 3,

    /// <summary>The HTTP/2 handshake failed: <c>H2_HANDSHAKE_FAILURE</c>.</summary>
    Http2HandshakeFailure = 4,

    /// <summary>The HBONE port did not answer, as if a NetworkPolicy kept it shut: <c>NETWORK_POLICY</c>.</summary>
    NetworkPolicy = 5,

    /// <summary>No certificate could be had: <c>IDENTITY_ERROR</c>.</summary>
    IdentityError = 6,

    /// <summary>The peer's certificate is revoked: <c>CERT_REVOKED</c>.</summary>
    CertificateRevoked = 7,

    /// <summary>A limit on connections was reached, which Istio's ztunnel does not have: <c>OVERFLOW</c>.</summary>
    Overflow = 8,
}

/// <summary>What is known of one proxied connection (ztunnel §10.3). Filled while it runs, published once when it ends.</summary>
public sealed class ConnectionRecord
{
    private static long _lastId;

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

    /// <summary>What it failed of.</summary>
    public ResponseFlag Flag { get; set; }

    /// <summary>Why it was sent where it was sent; null where nothing was decided.</summary>
    public string? Why { get; set; }

    /// <summary>How many further endpoints were tried before one was connected to, or none.</summary>
    public int Retries { get; internal set; }

    /// <summary>Whether the next hop was reached: octets were carried, or could have been.</summary>
    public bool WasOpened { get; internal set; }

    /// <summary>The time from accepting to the end.</summary>
    public TimeSpan Duration { get; internal set; }

    /// <summary>Octets that the workload here has sent: outbound those of the request, inbound those of the response.</summary>
    public long BytesSent => Counters.ToTunnel;

    /// <summary>Octets that the workload here has received.</summary>
    public long BytesReceived => Counters.FromTunnel;

    internal RelayCounters Counters { get; } = new();

    /// <summary>Tells the records of this process apart.</summary>
    internal long Id { get; } = Interlocked.Increment(ref _lastId);

    /// <summary>When it was accepted, by the clock's timestamp.</summary>
    internal long BeganAt { get; set; }

    /// <summary>Outbound what the application connected to, before anything was decided; null when it is not known, and inbound.</summary>
    internal IPEndPoint? OriginalDestination { get; set; }

    /// <summary>What its metrics are labelled with, as long as it has not failed; null until the first is counted.</summary>
    internal KeyValuePair<string, object?>[]? Labels { get; set; }

    // What metrics have counted already, while the connection goes on.
    internal long CountedRequestBytes { get; set; }

    internal long CountedResponseBytes { get; set; }

    internal void Fail(ConnectionOutcome outcome, ResponseFlag flag, string error)
    {
        Outcome = outcome;
        Flag = flag;
        Error = error;
    }

    /// <summary>Fails by an exception: what kind it is says the flag.</summary>
    internal void Fail(Exception exception) => Fail(
        ConnectionOutcome.Failed,
        exception is HboneException hbone
            ? hbone.Error switch
            {
                HboneError.ConnectTimeout => ResponseFlag.NetworkPolicy,
                HboneError.TlsFailed or HboneError.PeerRejected => ResponseFlag.TlsFailure,
                HboneError.PeerRevoked => ResponseFlag.CertificateRevoked,
                HboneError.HandshakeFailed => ResponseFlag.Http2HandshakeFailure,
                HboneError.IdentityUnavailable => ResponseFlag.IdentityError,
                HboneError.Refused when hbone.Status == 401 => ResponseFlag.Deny,
                _ => ResponseFlag.Connect,
            }
            : exception is LimitReachedException ? ResponseFlag.Overflow : ResponseFlag.Connect,
        exception.Message);
}
