using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>What a DNS proxy works with.</summary>
/// <param name="Options">How it behaves.</param>
/// <param name="State">The mesh.</param>
/// <param name="LocalWorkload">Gives the workload whose applications ask; throws when it is not known, and the question is answered SERVFAIL.</param>
/// <param name="Transport">Makes TCP listeners and connections.</param>
/// <param name="OpenUdp">Gives a UDP socket that is bound to an address; port 0 is any that is free, and must not be predictable.</param>
/// <param name="Metrics">Its counters.</param>
/// <param name="Time">The clock.</param>
/// <param name="Random">Orders addresses; used by many threads at once.</param>
/// <param name="Ids">Numbers for questions to upstream servers, that nobody can guess (RFC 5452 section 9.2); used by many threads at once.</param>
/// <param name="Loggers">Where it logs.</param>
internal sealed record DnsContext(
    DnsProxyOptions Options,
    MeshState State,
    Func<CancellationToken, ValueTask<Workload>> LocalWorkload,
    TransportFactory Transport,
    Func<IPEndPoint, Socket> OpenUdp,
    DnsMetrics Metrics,
    TimeProvider Time,
    Random Random,
    RandomNumberGenerator Ids,
    ILoggerFactory Loggers);
