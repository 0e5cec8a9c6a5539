using System.Collections.Concurrent;
using Mesh.Hbone.Http2;

namespace Mesh.Hbone.Client;

/// <summary>Settings of <see cref="HbonePool"/>.</summary>
public sealed class HbonePoolOptions
{
    /// <summary>Tunnels on one connection; the server's own limit counts too. At least 1; default 100.</summary>
    public int MaxStreamsPerConnection { get; set; } = 100;

    /// <summary>How many connections the tunnels to one destination spread over when one is the bottleneck. At least 1; default the number of processors, at most 8.</summary>
    /// <remarks>
    /// One connection is one TLS session, which one processor encrypts. A connection under load is relieved by further ones: new tunnels go to the one with the
    /// fewest. A minute after the load they keep to the first again, and the others are released unused. Tunnels that are open stay where they are.
    /// </remarks>
    public int ConnectionsPerDestination { get; set; } = Math.Clamp(Environment.ProcessorCount, 1, 8);

    /// <summary>How long a connection without tunnels is kept. Default 5 minutes.</summary>
    public TimeSpan UnusedReleaseTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>Says what is wrong with the settings; null when nothing is.</summary>
    public string? Validate() =>
        MaxStreamsPerConnection < 1 ? $"{nameof(MaxStreamsPerConnection)} is {MaxStreamsPerConnection}; allowed is 1 and more"
        : ConnectionsPerDestination < 1 ? $"{nameof(ConnectionsPerDestination)} is {ConnectionsPerDestination}; allowed is 1 and more"
        : UnusedReleaseTimeout <= TimeSpan.Zero || UnusedReleaseTimeout > TimeSpan.FromDays(1) ? $"{nameof(UnusedReleaseTimeout)} is {UnusedReleaseTimeout}; allowed is more than nothing, up to a day"
        : null;
}

/// <summary>Opens tunnels on shared connections (ztunnel §2.9).</summary>
/// <remarks>
/// <list type="number">
/// <item>Connections are shared between equal <see cref="HboneDestination"/>s only.</item>
/// <item>One connection attempt per destination is under way at most; all who wait for it share what comes of it. Cancelling ends one caller's wait.</item>
/// <item>State is kept per destination, and no lock is held while connecting.</item>
/// <item>Under load the tunnels of a destination spread over several connections, and so over processors; see <see cref="HbonePoolOptions.ConnectionsPerDestination"/>.</item>
/// <item>A connection that is full is used again when it has room. One that got GOAWAY or failed, whose certificate, or that of its peer, has been replaced or
/// has expired, or that was made with other roots than those trusted now, takes no new tunnels; those it carries go on.</item>
/// <item>A connection through a gateway (double HBONE) is pooled like any other, inside a tunnel of a pooled connection to the gateway.</item>
/// <item>A request that the server did not process is tried once more, on another connection.</item>
/// </list>
/// Thread-safe.
/// </remarks>
public sealed class HbonePool : IAsyncDisposable
{
    private const int MaxAttempts = 2;

    // How long after the load new tunnels still spread: loads come again.
    private static readonly TimeSpan SpreadMemory = TimeSpan.FromSeconds(60);

    // A server that has not taken a further connection is left in peace for a while.
    private static readonly TimeSpan SpreadRetryInterval = TimeSpan.FromSeconds(10);

    // Fresh connections that carried nobody's tunnel, before the server is taken to want none.
    private const int MaxFruitlessConnections = 3;

    private readonly Lock _gate = new();
    private readonly HashSet<HboneConnection> _retired = [];
    private readonly ConcurrentDictionary<HboneDestination, DestinationPool> _destinations = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly HboneClient _client;
    private readonly HbonePoolOptions _options;
    private readonly TimeProvider _time;
    private readonly ITimer _sweeper;

    /// <summary>Makes an empty pool.</summary>
    /// <param name="client">What connects.</param>
    /// <param name="options">Limits and times.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public HbonePool(HboneClient client, HbonePoolOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(client);
        _client = client;
        _options = options ?? new HbonePoolOptions();
        if (_options.Validate() is { } error)
        {
            throw new ArgumentException(error, nameof(options));
        }

        _time = client.Time;
        var period = _options.UnusedReleaseTimeout / 4;
        _sweeper = _time.CreateTimer(static state => ((HbonePool)state!).Sweep(), this, period, period);
    }

    /// <summary>How many connections there are, to all destinations.</summary>
    public int ConnectionCount => _destinations.Values.Sum(pool => pool.Count);

    /// <summary>Opens a tunnel.</summary>
    /// <param name="destination">The server, and who we are to it.</param>
    /// <param name="authority">The target behind the server: <c>address:port</c> or <c>host:port</c>.</param>
    /// <param name="headers">Headers of the request.</param>
    /// <param name="cancellationToken">Ends this caller's wait; a connection attempt goes on for others.</param>
    /// <exception cref="HboneException">There is no tunnel; the error says at which step it failed.</exception>
    /// <exception cref="ArgumentException">The authority is empty or contains what cannot stand in a header.</exception>
    public async Task<HboneTunnel> ConnectAsync(HboneDestination destination, string authority, HboneHeaders? headers = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        HboneConnection.CheckAuthority(authority);
        HboneConnection? refusing = null;
        for (var attempt = 1; ; attempt++)
        {
            var (connection, stream) = await RequestAsync(destination, authority, headers, refusing, cancellationToken);
            try
            {
                return await connection.ResponseAsync(stream, authority, onDisposed: null, cancellationToken);
            }
            catch (HboneException e) when (e.Error is HboneError.Unprocessed && attempt < MaxAttempts)
            {
                // The server said that it did nothing with it, so nothing is done twice.
                refusing = connection;
            }
        }
    }

    /// <summary>Closes all connections and their tunnels.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync();
        await _sweeper.DisposeAsync();
        await Task.WhenAll(_destinations.Values.Select(pool => pool.DisposeAsync().AsTask()));
        HboneConnection[] retired;
        lock (_gate)
        {
            retired = [.. _retired];
        }

        await Task.WhenAll(retired.Select(connection => connection.DisposeAsync().AsTask()));
    }

    private async Task<(HboneConnection Connection, Http2Stream Stream)> RequestAsync(
        HboneDestination destination, string authority, HboneHeaders? headers, HboneConnection? avoid, CancellationToken cancellationToken)
    {
        var fruitless = 0;
        while (true)
        {
            ObjectDisposedException.ThrowIf(_stop.IsCancellationRequested, this);
            var pool = _destinations.GetOrAdd(destination, static (key, owner) => new DestinationPool(owner, key), this);
            var carried = pool.Carried;
            if (pool.RequestOrConnect(destination.Capacity, authority, headers, avoid, out var connecting) is { } request)
            {
                // Written outside the lock: the write may carry the data of other tunnels, too.
                request.Connection.Http2.Flush();
                return request;
            }

            // Others may take all the room of a fresh connection; when nobody does, the server wants no tunnels.
            await connecting.WaitAsync(cancellationToken);
            fruitless = pool.Carried == carried ? fruitless + 1 : 0;
            if (fruitless > MaxFruitlessConnections)
            {
                throw new HboneException(HboneError.Unprocessed, $"{destination.EndPoint} takes connections, but no tunnels");
            }
        }
    }

    private void Sweep()
    {
        foreach (var (destination, pool) in _destinations)
        {
            if (pool.Sweep())
            {
                _destinations.TryRemove(KeyValuePair.Create(destination, pool));
            }
        }
    }

    // Its tunnels go on; the last one closes it.
    private void Retire(HboneConnection connection)
    {
        lock (_gate)
        {
            _retired.Add(connection);
        }

        _ = Task.Run(async () =>
        {
            await connection.Http2.DrainAsync();
            await connection.DisposeAsync();
            lock (_gate)
            {
                _retired.Remove(connection);
            }
        });
    }

    /// <summary>The connections to one destination.</summary>
    private sealed class DestinationPool(HbonePool owner, HboneDestination destination) : IAsyncDisposable
    {
        private readonly Lock _gate = new();
        private readonly List<Pooled> _connections = [];
        private Task? _connecting;
        private bool _left;
        private int _capacity = 1;
        private long _busyAt;
        private long _refusedAt;
        private long _carried;

        public int Count
        {
            get
            {
                lock (_gate)
                {
                    return _connections.Count;
                }
            }
        }

        /// <summary>How many tunnels were requested so far.</summary>
        public long Carried
        {
            get
            {
                lock (_gate)
                {
                    return _carried;
                }
            }
        }

        /// <summary>Puts a request on a connection that has room; it is still to be flushed. When none has, the connection attempt to wait for.</summary>
        /// <remarks>In one step, so that nobody begins an attempt for the want of a connection that has come meanwhile.</remarks>
        public (HboneConnection Connection, Http2Stream Stream)? RequestOrConnect(int capacity, string authority, HboneHeaders? headers, HboneConnection? avoid, out Task connecting)
        {
            lock (_gate)
            {
                _capacity = capacity;
                connecting = Task.CompletedTask;
                Retire_NeedsLock();
                Spread_NeedsLock();
                foreach (var pooled in _connections)
                {
                    if (pooled.Connection != avoid && pooled.Connection.TryRequest(authority, headers, owner._options.MaxStreamsPerConnection) is { } stream)
                    {
                        pooled.LastUsed = owner._time.GetTimestamp();
                        _carried++;
                        return (pooled.Connection, stream);
                    }
                }

                // What has left the pool connects no more; the caller comes again, and finds its successor.
                connecting = _left ? Task.CompletedTask : _connecting ??= Task.Run(ConnectAsync);
                return null;
            }
        }

        /// <summary>A connection has become the bottleneck.</summary>
        public void OnBusy(HboneConnection connection)
        {
            lock (_gate)
            {
                _busyAt = owner._time.GetTimestamp();

                // A single tunnel cannot be relieved; the next one can be.
                if (connection.Http2.ActiveStreams > 1)
                {
                    ConnectFurther_NeedsLock();
                }
            }
        }

        // While the load lasts, and a while after, the next tunnel goes to the connection with the fewest; so it does where there are several servers behind
        // a gateway. Otherwise it goes to the first that has room.
        private void Spread_NeedsLock()
        {
            var busy = _busyAt != 0 && owner._time.GetElapsedTime(_busyAt) <= SpreadMemory;
            if (_connections.Count == 0 || (!busy && _capacity == 1))
            {
                return;
            }

            var least = _connections.MinBy(pooled => pooled.Connection.Http2.ActiveStreams)!;
            _connections.Remove(least);
            _connections.Insert(0, least);
            if (least.Connection.Http2.ActiveStreams > 0)
            {
                ConnectFurther_NeedsLock();
            }
        }

        private void ConnectFurther_NeedsLock()
        {
            if (_connections.Count < Math.Max(owner._options.ConnectionsPerDestination, _capacity) && _connecting is null && !_left
                && (_refusedAt == 0 || owner._time.GetElapsedTime(_refusedAt) > SpreadRetryInterval))
            {
                _connecting = Task.Run(ConnectFurtherAsync);
            }
        }

        // Nobody has to wait for it: there are connections.
        private async Task ConnectFurtherAsync()
        {
            try
            {
                await ConnectAsync();
            }
            catch (Exception)
            {
                // Whatever it was, those that are there carry on.
                lock (_gate)
                {
                    _refusedAt = owner._time.GetTimestamp();
                }
            }
        }

        /// <summary>Lets unused connections go; true when nothing is left, and this has left the pool itself.</summary>
        public bool Sweep()
        {
            lock (_gate)
            {
                Retire_NeedsLock();
                for (var i = _connections.Count - 1; i >= 0; i--)
                {
                    var pooled = _connections[i];
                    if (pooled.Connection.Http2.ActiveStreams > 0)
                    {
                        pooled.LastUsed = owner._time.GetTimestamp();
                    }
                    else if (owner._time.GetElapsedTime(pooled.LastUsed) >= owner._options.UnusedReleaseTimeout)
                    {
                        _connections.RemoveAt(i);
                        owner.Retire(pooled.Connection);
                    }
                }

                _left = _connections.Count == 0 && _connecting is null;
                return _left;
            }
        }

        public async ValueTask DisposeAsync()
        {
            Task? connecting;
            lock (_gate)
            {
                _left = true;
                connecting = _connecting;
            }

            if (connecting is not null)
            {
                await connecting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            Pooled[] connections;
            lock (_gate)
            {
                connections = [.. _connections];
                _connections.Clear();
            }

            await Task.WhenAll(connections.Select(pooled => pooled.Connection.DisposeAsync().AsTask()));
        }

        private async Task ConnectAsync()
        {
            try
            {
                var connection = await owner._client.ConnectAsync(destination, (gateway, target, token) => owner.ConnectAsync(gateway, target, headers: null, token), owner._stop.Token);
                connection.Http2.Busy = () => OnBusy(connection);
                lock (_gate)
                {
                    _connections.Add(new Pooled(connection) { LastUsed = owner._time.GetTimestamp() });
                    _connecting = null;
                }
            }
            catch
            {
                lock (_gate)
                {
                    _connecting = null;
                }

                throw;
            }
        }

        private void Retire_NeedsLock()
        {
            for (var i = _connections.Count - 1; i >= 0; i--)
            {
                var connection = _connections[i].Connection;
                if (!connection.Http2.IsUsable || !IsTrusted(connection))
                {
                    _connections.RemoveAt(i);
                    owner.Retire(connection);
                }
            }
        }

        // Who we are and who the peer is was proved with what was valid then; new tunnels are opened on what is valid now.
        private bool IsTrusted(HboneConnection connection)
        {
            var certificates = owner._client.Certificates;
            return certificates.TryGet(destination.Source, out var certificate) && ReferenceEquals(certificate, connection.Certificate)
                && connection.TrustVersion == certificates.TrustBundle.Version && owner._time.GetUtcNow() <= connection.PeerNotAfter;
        }
    }

    private sealed class Pooled(HboneConnection connection)
    {
        public HboneConnection Connection => connection;

        public long LastUsed { get; set; }
    }
}
