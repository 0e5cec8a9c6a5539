using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Mesh.Testing;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>A DNS proxy on a free port, an upstream server, and a client.</summary>
internal sealed class DnsStage : IAsyncDisposable, ILoggerFactory
{
    private readonly Meter _meter = new("test");
    private readonly MeterListener _listener = new();
    private readonly ConcurrentQueue<(LogLevel Level, string Category, string Line)> _lines = new();
    private readonly DnsProxy _proxy;
    private int _upstreamSockets;

    /// <summary>Sets the stage.</summary>
    /// <param name="configure">Changes the options; the upstream server is there already.</param>
    /// <param name="time">The clock; the system's when null.</param>
    /// <param name="workload">Gives the client's workload; <see cref="DnsMesh.Client"/> when null.</param>
    /// <param name="address">Where the proxy listens; 127.0.0.1 when null.</param>
    public DnsStage(
        Action<DnsProxyOptions>? configure = null,
        TimeProvider? time = null,
        Func<CancellationToken, ValueTask<Workload>>? workload = null,
        IPAddress? address = null)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter == _meter)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Record(instrument, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Record(instrument, tags));
        _listener.Start();

        var options = new DnsProxyOptions { PreferredServiceNamespace = "ns4", UpstreamServers = [Upstream.EndPoint] };
        configure?.Invoke(options);
        var context = new DnsContext(
            options,
            DnsMesh.Create(),
            workload ?? (_ => ValueTask.FromResult(DnsMesh.Client)),
            new SocketTransportFactory(),
            OpenUdp,
            new DnsMetrics(_meter),
            time ?? TimeProvider.System,
            new SharedRandom(),
            RandomNumberGenerator.Create(),
            this);
        _proxy = Start(context, new IPEndPoint(address ?? IPAddress.Loopback, 0));
    }

    public NameServer Upstream { get; } = new();

    public IPEndPoint EndPoint => _proxy.LocalEndPoints[0];

    /// <summary>The names of the counters that were counted up, each with its tags.</summary>
    public ConcurrentQueue<string> Measurements { get; } = new();

    public IEnumerable<string> Lines => _lines.Select(line => $"{line.Level} {line.Category} {line.Line}");

    /// <summary>How many UDP sockets were opened for questions to upstream servers.</summary>
    public int UpstreamSockets => Volatile.Read(ref _upstreamSockets);

    /// <summary>Asks over UDP, and returns what comes.</summary>
    public async Task<byte[]> AskUdpAsync(byte[] message, IPEndPoint? server = null)
    {
        server ??= EndPoint;
        using var socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(server);
        await socket.SendAsync(message);
        var buffer = new byte[65536];
        var length = await socket.ReceiveAsync(buffer).InTime();
        return buffer[..length];
    }

    /// <summary>Asks over TCP, and returns what comes.</summary>
    public async Task<byte[]> AskTcpAsync(byte[] message, IPEndPoint? server = null)
    {
        await using var stream = await ConnectAsync(server);
        await DnsStream.WriteMessageAsync(stream, message, default);
        return (await DnsStream.ReadMessageAsync(stream, 65535, default).InTime())!;
    }

    public async Task<NetworkStream> ConnectAsync(IPEndPoint? server = null)
    {
        server ??= EndPoint;
        var socket = new Socket(server.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(server);
        return new NetworkStream(socket, ownsSocket: true);
    }

    public async Task<DnsAnswer> AskAsync(DnsRequest.Query query, DnsProtocol protocol = DnsProtocol.Udp)
    {
        var message = DnsResponse.Write(query);
        return DnsText.Read(protocol is DnsProtocol.Tcp ? await AskTcpAsync(message) : await AskUdpAsync(message), query);
    }

    public Task StopAsync() => _proxy.DisposeAsync().AsTask();

    public async ValueTask DisposeAsync()
    {
        await _proxy.DisposeAsync().InTime();
        await Upstream.DisposeAsync();
        _listener.Dispose();
        _meter.Dispose();
    }

    ILogger ILoggerFactory.CreateLogger(string categoryName) => new Logger(this, categoryName);

    void ILoggerFactory.AddProvider(ILoggerProvider provider)
    {
    }

    void IDisposable.Dispose()
    {
    }

    private static DnsProxy Start(DnsContext context, IPEndPoint address)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return new DnsProxy(context, [address]);
            }
            catch (IOException) when (attempt < 10)
            {
                // Somebody has the TCP half of the port.
            }
        }
    }

    private Socket OpenUdp(IPEndPoint local)
    {
        if (local.Address.Equals(IPAddress.Any))
        {
            Interlocked.Increment(ref _upstreamSockets);
        }

        return Sockets.OpenUdp(local);
    }

    private void Record(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
        Measurements.Enqueue($"{instrument.Name} {string.Join(' ', tags.ToArray().Select(tag => $"{tag.Key}={tag.Value}"))}");

    private sealed class Logger(DnsStage stage, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            var fields = state as IReadOnlyList<KeyValuePair<string, object?>> ?? [];
            var line = category == "dns" ? string.Join(' ', fields.Select(field => $"{field.Key}={field.Value}")) : formatter(state, exception);
            stage._lines.Enqueue((logLevel, category, line));
        }
    }
}
