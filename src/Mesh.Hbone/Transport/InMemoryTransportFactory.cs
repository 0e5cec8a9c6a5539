using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net;
using System.Threading.Channels;

namespace Mesh.Hbone.Transport;

/// <summary>A network in memory, for tests: who listens here can be connected to here, and nowhere else.</summary>
public sealed class InMemoryTransportFactory : TransportFactory
{
    private const int FirstEphemeralPort = 32_768;
    private readonly ConcurrentDictionary<IPEndPoint, Listener> _listeners = new();
    private int _lastPort = FirstEphemeralPort;

    /// <inheritdoc/>
    public override ValueTask<TransportConnection> ConnectAsync(IPEndPoint remote, IPAddress? source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(remote);
        if (!_listeners.TryGetValue(remote, out var listener))
        {
            throw new IOException($"cannot connect to {remote}: nobody listens there");
        }

        var (client, server) = Connect(new IPEndPoint(source ?? IPAddress.Loopback, NextPort()), remote);
        return listener.Offer(server) ? new ValueTask<TransportConnection>(client) : throw new IOException($"cannot connect to {remote}: the listener is closed");
    }

    /// <inheritdoc/>
    public override TransportListener Listen(IPEndPoint local)
    {
        ArgumentNullException.ThrowIfNull(local);
        var address = local.Port == 0 ? new IPEndPoint(local.Address, NextPort()) : local;
        var listener = new Listener(this, address);
        return _listeners.TryAdd(address, listener) ? listener : throw new IOException($"cannot listen on {address}: it is in use");
    }

    /// <summary>Two ends of one connection.</summary>
    public static (TransportConnection Client, TransportConnection Server) Connect(IPEndPoint client, IPEndPoint server)
    {
        // As much as a socket buffers, so that writers feel slow readers.
        var options = new PipeOptions(pauseWriterThreshold: 256 * 1024, resumeWriterThreshold: 128 * 1024, useSynchronizationContext: false);
        var up = new Pipe(options);
        var down = new Pipe(options);
        return (new Connection(down.Reader, up.Writer, client, server), new Connection(up.Reader, down.Writer, server, client));
    }

    private int NextPort() => Interlocked.Increment(ref _lastPort);

    private sealed class Listener(InMemoryTransportFactory factory, IPEndPoint local) : TransportListener
    {
        private readonly Channel<TransportConnection> _offered = Channel.CreateUnbounded<TransportConnection>();

        public override IPEndPoint LocalEndPoint { get; } = local;

        public bool Offer(TransportConnection connection) => _offered.Writer.TryWrite(connection);

        public override async ValueTask<TransportConnection?> AcceptAsync(CancellationToken cancellationToken) =>
            await _offered.Reader.WaitToReadAsync(cancellationToken) && _offered.Reader.TryRead(out var connection) ? connection : null;

        public override ValueTask DisposeAsync()
        {
            factory._listeners.TryRemove(LocalEndPoint, out _);
            _offered.Writer.TryComplete();
            return default;
        }
    }

    private sealed class Connection(PipeReader reader, PipeWriter writer, IPEndPoint local, IPEndPoint remote) : TransportConnection
    {
        private readonly DuplexStream _stream = new(reader, writer);

        public override Stream Stream => _stream;

        public override IPEndPoint LocalEndPoint { get; } = local;

        public override IPEndPoint RemoteEndPoint { get; } = remote;

        public override void ShutdownSend() => writer.Complete();

        public override void Abort() => _stream.Dispose();

        public override ValueTask DisposeAsync() => _stream.DisposeAsync();
    }
}
