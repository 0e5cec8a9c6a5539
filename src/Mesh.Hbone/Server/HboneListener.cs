using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Transport;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Hbone.Server;

/// <summary>A connection that did not come as far as a request.</summary>
/// <param name="RemoteEndPoint">The client's address.</param>
/// <param name="LocalEndPoint">Our address.</param>
/// <param name="Rejection">The rule that the client's certificate broke; <see cref="PeerRejection.None"/> when it was something else.</param>
/// <param name="Reason">What went wrong, in words.</param>
public sealed record HboneConnectionFailure(IPEndPoint RemoteEndPoint, IPEndPoint LocalEndPoint, PeerRejection Rejection, string Reason);

/// <summary>What an <see cref="HboneListener"/> needs.</summary>
public sealed class HboneListenerOptions
{
    /// <summary>The certificate to present; asked for each connection, so that a new one takes effect at once.</summary>
    public required Func<CancellationToken, ValueTask<WorkloadCertificate>> Certificate { get; init; }

    /// <summary>The roots that clients' certificates must end in.</summary>
    public required TrustBundle Trust { get; init; }

    /// <summary>Other names of the trust domain of <see cref="Certificate"/>, whose clients are accepted too. Default: none.</summary>
    public TrustDomainAliases Aliases { get; init; } = TrustDomainAliases.None;

    /// <summary>Windows, limits and times.</summary>
    public HboneOptions Hbone { get; init; } = new();

    /// <summary>How many authenticated connections may be open at once; further ones are closed. At least 1; default 10,000.</summary>
    public int MaxConnections { get; init; } = 10_000;

    /// <summary>How many connections may be in their handshake at once; further ones are closed as they come. At least 1; default 2,000.</summary>
    /// <remarks>Apart from the others, so that who has no certificate cannot take the place of those who have one.</remarks>
    public int MaxHandshakes { get; init; } = 2_000;

    /// <summary>Told of every connection that does not come as far as a request. Must neither block nor throw.</summary>
    public Action<HboneConnectionFailure>? ConnectionFailed { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Where it speaks.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;
}

/// <summary>Accepts HBONE connections and hands out the requests that come on them.</summary>
public sealed class HboneListener : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly HashSet<Http2Connection> _connections = [];
    private readonly HashSet<Task> _serving = [];
    private readonly RequestQueue _requests;
    private readonly PeerWatch _peers;
    private readonly CancellationTokenSource _stopAccepting = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly TransportListener _listener;
    private readonly HboneListenerOptions _options;
    private readonly Task _accepting;
    private bool _draining;

    private HboneListener(TransportListener listener, HboneListenerOptions options)
    {
        _listener = listener;
        _options = options;
        _requests = new RequestQueue(options.Hbone.InlineCompletions);
        _peers = new PeerWatch(options.Trust);
        _accepting = Task.Run(AcceptConnectionsAsync);
    }

    /// <summary>The address that it listens on.</summary>
    public IPEndPoint LocalEndPoint => _listener.LocalEndPoint;

    /// <summary>Begins to accept on a listener, which it owns from now on.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public static HboneListener Start(TransportListener listener, HboneListenerOptions options)
    {
        ArgumentNullException.ThrowIfNull(listener);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxConnections, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxHandshakes, 1);
        options.Hbone.ThrowIfInvalid();
        return new HboneListener(listener, options);
    }

    /// <summary>The next request of any connection; null when the listener is closed and none is left.</summary>
    public ValueTask<HboneRequest?> AcceptAsync(CancellationToken cancellationToken = default) => _requests.TakeAsync(cancellationToken);

    /// <summary>Stops listening, tells the clients to go away (GOAWAY), and waits for their tunnels to end.</summary>
    /// <param name="cancellationToken">The deadline: what is open then stays open until <see cref="DisposeAsync"/>.</param>
    /// <exception cref="OperationCanceledException">The deadline came first.</exception>
    public async Task DrainAsync(CancellationToken cancellationToken)
    {
        Http2Connection[] connections;
        lock (_gate)
        {
            _draining = true;
            connections = [.. _connections];
        }

        await _stopAccepting.CancelAsync();
        await _listener.DisposeAsync();
        await _accepting;
        foreach (var connection in connections)
        {
            _ = connection.DrainAsync();
        }

        Task[] serving;
        lock (_gate)
        {
            serving = [.. _serving];
        }

        await Task.WhenAll(serving).WaitAsync(cancellationToken);
    }

    /// <summary>Closes everything at once.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stopAccepting.CancelAsync();
        await _stop.CancelAsync();
        await _listener.DisposeAsync();
        await _accepting;
        Task[] serving;
        lock (_gate)
        {
            serving = [.. _serving];
        }

        await Task.WhenAll(serving);
        _requests.Complete();
    }

    private async Task AcceptConnectionsAsync()
    {
        while (!_stopAccepting.IsCancellationRequested)
        {
            TransportConnection? connection;
            try
            {
                connection = await _listener.AcceptAsync(_stopAccepting.Token);
            }
            catch (OperationCanceledException)
            {
                break;
            }
            catch (Exception e)
            {
                // File descriptors used up, for one. The listener stays; a moment later there may be some.
                _options.Logger.AcceptFailed(LocalEndPoint, e);
                await PauseAsync();
                continue;
            }

            if (connection is null)
            {
                break;
            }

            Serve(connection);
        }

        lock (_gate)
        {
            if (_serving.Count == 0)
            {
                _requests.Complete();
            }
        }
    }

    private async Task PauseAsync()
    {
        try
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100), _options.Time, _stopAccepting.Token);
        }
        catch (OperationCanceledException)
        {
            // The loop sees it.
        }
    }

    private void Serve(TransportConnection connection)
    {
        bool refused;
        lock (_gate)
        {
            refused = _serving.Count - _connections.Count >= _options.MaxHandshakes;
        }

        if (refused)
        {
            Report(connection, new PeerVerification(), new IOException($"{_options.MaxHandshakes} other connections are in their handshake, the limit"));
            connection.Abort();
            return;
        }

        lock (_gate)
        {
            var serving = Task.Run(() => ServeAsync(connection));
            _serving.Add(serving);
            _ = serving.ContinueWith(Served, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }

    private void Served(Task serving)
    {
        lock (_gate)
        {
            _serving.Remove(serving);
            if (_serving.Count == 0 && _stopAccepting.IsCancellationRequested)
            {
                _requests.Complete();
            }
        }
    }

    private async Task ServeAsync(TransportConnection connection)
    {
        var peer = new PeerVerification();
        try
        {
            await using (connection)
            {
                await using var http2 = await HandshakeAsync(connection, peer);
                _peers.Add(http2, peer.Identity!, peer.Chain);
                using var stopped = _stop.Token.Register(static state =>
                    ((Http2Connection)state!).Close(Http2ErrorCode.NoError, new HboneException(HboneError.Aborted, "the listener was closed")), http2);
                await http2.Closed;
                _requests.Drop(http2);
                lock (_gate)
                {
                    _connections.Remove(http2);
                }
            }
        }
        catch (Exception e)
        {
            // Whatever happens to one connection is told and concerns no other.
            Report(connection, peer, e);
        }
    }

    private async Task<Http2Connection> HandshakeAsync(TransportConnection connection, PeerVerification peer)
    {
        using var deadline = new CancellationTokenSource(_options.Hbone.HandshakeTimeout, _options.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, _stop.Token);
        try
        {
            var certificate = await _options.Certificate(either.Token);
            var options = SpiffeTls.ServerOptions(certificate, _options.Trust, peer, _options.Time, _options.Aliases);
            var tls = await TlsStream.AuthenticateAsServerAsync(connection.Stream, options, peer, either.Token);
            try
            {
                if (tls.NegotiatedApplicationProtocol != SslApplicationProtocol.Http2)
                {
                    throw new AuthenticationException("the client does not offer h2 (ALPN)");
                }

                var identity = peer.Identity ?? throw new AuthenticationException("the client proved no identity");
                return await BeginHttp2Async(connection, tls, identity, either.Token);
            }
            catch
            {
                await tls.DisposeAsync();
                throw;
            }
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new TimeoutException($"the handshake was not complete within {_options.Hbone.HandshakeTimeout}", e);
        }
    }

    private async Task<Http2Connection> BeginHttp2Async(TransportConnection connection, TlsStream tls, SpiffeId peer, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            // Before a word of HTTP/2: a client that hears one sends requests, and loses them.
            if (_connections.Count >= _options.MaxConnections)
            {
                throw Full();
            }
        }

        var http2 = new Http2Connection(
            tls, isServer: true, _options.Hbone, _options.Time, _options.Logger, stream => Offer(new HboneRequest(stream, peer, connection.LocalEndPoint, connection.RemoteEndPoint)));
        http2.Start();
        try
        {
            await http2.Ready.WaitAsync(cancellationToken);
        }
        catch
        {
            await http2.DisposeAsync();
            _requests.Drop(http2);
            throw;
        }

        bool draining;
        bool full;
        lock (_gate)
        {
            full = _connections.Count >= _options.MaxConnections || !_connections.Add(http2);
            draining = _draining;
        }

        if (full)
        {
            await http2.DisposeAsync();
            _requests.Drop(http2);
            throw Full();
        }

        if (draining)
        {
            _ = http2.DrainAsync();
        }

        return http2;
    }

    private IOException Full() => new($"{_options.MaxConnections} connections are open, the limit");

    private void Offer(HboneRequest request)
    {
        if (!_requests.TryAdd(request))
        {
            request.Dispose();
        }
    }

    private void Report(TransportConnection connection, PeerVerification peer, Exception error)
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        var reason = peer.Reason ?? error.Message;
        _options.Logger.ConnectionFailed(connection.RemoteEndPoint, reason);
        _options.ConnectionFailed?.Invoke(new HboneConnectionFailure(connection.RemoteEndPoint, connection.LocalEndPoint, peer.Rejection, reason));
    }
}
