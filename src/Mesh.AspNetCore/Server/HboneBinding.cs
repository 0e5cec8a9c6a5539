using System.Collections.Concurrent;
using System.Net;
using System.Threading.Channels;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Hbone.Server;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace Mesh.AspNetCore.Server;

/// <summary>One HBONE listener, shared by the two endpoints of Kestrel: tunnels whose first octets are HTTP/1.1, and those with HTTP/2.</summary>
/// <remarks>
/// Kestrel chooses between the two by ALPN, of which a tunnel has none, so the choice is made here, before Kestrel sees the connection. Policy is asked
/// first: when the <see cref="MeshState"/> holds L4 policies for the application, they decide, as they would in a ztunnel; open tunnels that a change of
/// policy denies are cut.
/// </remarks>
internal sealed class HboneBinding(IPEndPoint endPoint)
{
    // As long as Kestrel waits for the headers of a request.
    private static readonly TimeSpan FirstOctetsTimeout = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly Channel<ConnectionContext> _http1 = Channel.CreateUnbounded<ConnectionContext>();
    private readonly Channel<ConnectionContext> _http2 = Channel.CreateUnbounded<ConnectionContext>();
    private readonly ConcurrentDictionary<HboneTunnel, L4Connection> _open = new();
    private HboneListener? _listener;
    private MeshState? _state;
    private EventHandler<MeshChange>? _onChange;
    private Task _accepting = Task.CompletedTask;
    private int _users;

    private static ReadOnlySpan<byte> Http2Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8;

    /// <summary>Where it listens; with the port that the system chose when it was to choose one.</summary>
    public IPEndPoint EndPoint { get; private set; } = endPoint;

    public ChannelReader<ConnectionContext> Connections(HttpProtocols protocols) => (protocols is HttpProtocols.Http2 ? _http2 : _http1).Reader;

    /// <summary>Begins to listen; the second endpoint finds it done.</summary>
    public void Start(Func<IPEndPoint, HboneListener> listen, MeshOptions options, MeshState state, TimeProvider time, ILogger logger)
    {
        lock (_gate)
        {
            if (_listener is null)
            {
                _listener = listen(EndPoint);
                _state = state;
                _onChange = (_, change) => Recheck(change.After, options, logger);
                state.Changed += _onChange;
                EndPoint = _listener.LocalEndPoint;
                _accepting = AcceptAsync(_listener, options, state, time, logger);
            }

            _users++;
        }
    }

    /// <summary>Takes no more tunnels; those that are open go on.</summary>
    public void Stop()
    {
        _http1.Writer.TryComplete();
        _http2.Writer.TryComplete();
        _ = _listener?.DrainAsync(CancellationToken.None).ContinueWith(static task => task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    /// <summary>Closes everything, when the last endpoint is done with it.</summary>
    public async ValueTask ReleaseAsync()
    {
        HboneListener? listener;
        lock (_gate)
        {
            listener = --_users == 0 ? _listener : null;
        }

        if (listener is not null)
        {
            _state!.Changed -= _onChange;
            await listener.DisposeAsync();
            await _accepting;
        }
    }

    private async Task AcceptAsync(HboneListener listener, MeshOptions options, MeshState state, TimeProvider time, ILogger logger)
    {
        while (await listener.AcceptAsync() is { } request)
        {
            _ = Task.Run(() => ServeAsync(request, options, state, time, logger));
        }
    }

    private async Task ServeAsync(HboneRequest request, MeshOptions options, MeshState state, TimeProvider time, ILogger logger)
    {
        HboneTunnel tunnel;
        using (request)
        {
            // The client dials the mesh's port; what policies speak of is the application's.
            var connection = new L4Connection(
                request.RemoteEndPoint.Address,
                request.PeerIdentity,
                new IPEndPoint(request.LocalEndPoint.Address, options.ApplicationPort),
                options.TrustDomainAliases.OtherNamesOf(options.Identity!.TrustDomain, request.PeerIdentity));
            if ((Refusal(request, options) ?? Denial(options, state.Current, connection)) is { } refusal)
            {
                logger.RequestRefused(request.PeerIdentity, request.Authority, refusal.Status, refusal.Reason);
                request.Refuse(refusal.Status);
                return;
            }

            tunnel = request.Accept();
            _open[tunnel] = connection;
        }

        // Between the decision and the entry the policies may have changed.
        Recheck(state.Current, options, logger);
        try
        {
            using var deadline = new CancellationTokenSource(FirstOctetsTimeout, time);
            var target = await SpeaksHttp2Async(tunnel, deadline.Token) ? _http2 : _http1;
            if (target.Writer.TryWrite(new HboneConnectionContext(tunnel, () => _open.TryRemove(tunnel, out _))))
            {
                return;
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            logger.TunnelUnused(tunnel.PeerIdentity, tunnel.RemoteEndPoint, e.Message);
        }

        _open.TryRemove(tunnel, out _);
        tunnel.Abort();
        await tunnel.DisposeAsync();
    }

    private void Recheck(MeshSnapshot mesh, MeshOptions options, ILogger logger)
    {
        foreach (var (tunnel, connection) in _open)
        {
            if (Denial(options, mesh, connection) is { } denial && _open.TryRemove(tunnel, out _))
            {
                logger.TunnelCut(tunnel.PeerIdentity, tunnel.RemoteEndPoint, denial.Reason);
                tunnel.Abort();
            }
        }
    }

    private static (int Status, string Reason)? Refusal(HboneRequest request, MeshOptions options) =>
        request.Method != "CONNECT" ? (404, $"the method is {request.Method}, not CONNECT")
        : !TryReadPort(request.Authority, out var port) ? (400, "the authority is not of the form host:port")
        : port != options.ApplicationPort ? (503, $"the application is at port {options.ApplicationPort}, not {port}")
        : null;

    private static (int Status, string Reason)? Denial(MeshOptions options, MeshSnapshot mesh, in L4Connection connection) =>
        options.WorkloadIn(mesh) is not { } workload ? (503, $"the mesh has no workload {options.WorkloadUid} with the identity {options.Identity}")
        : L4Authorizer.Authorize(mesh.Policies, workload, connection) is L4Decision.Denied denied ? (401, denied.Reason)
        : null;

    private static bool TryReadPort(string authority, out ushort port)
    {
        port = 0;
        var colon = authority.LastIndexOf(':');
        return colon > 0 && ushort.TryParse(authority.AsSpan(colon + 1), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out port) && port > 0;
    }

    // The octets stay where they are: whoever gets the tunnel reads them again.
    private static async Task<bool> SpeaksHttp2Async(HboneTunnel tunnel, CancellationToken cancellationToken)
    {
        while (true)
        {
            var result = await tunnel.Input.ReadAsync(cancellationToken);
            var decision = Decide(result.Buffer, result.IsCompleted);
            tunnel.Input.AdvanceTo(result.Buffer.Start, decision is null ? result.Buffer.End : result.Buffer.Start);
            if (decision is { } http2)
            {
                return http2;
            }
        }
    }

    private static bool? Decide(in System.Buffers.ReadOnlySequence<byte> octets, bool isCompleted)
    {
        Span<byte> begin = stackalloc byte[Http2Preface.Length];
        var count = (int)Math.Min(octets.Length, begin.Length);
        System.Buffers.BuffersExtensions.CopyTo(octets.Slice(0, count), begin);
        return !Http2Preface[..count].SequenceEqual(begin[..count]) || (isCompleted && count < begin.Length) ? false
            : count == begin.Length ? true
            : null;
    }
}
