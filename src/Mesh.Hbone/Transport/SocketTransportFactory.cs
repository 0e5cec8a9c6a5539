using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;

namespace Mesh.Hbone.Transport;

/// <summary>TCP keep-alive (ztunnel §1, §13).</summary>
/// <param name="Idle">Silence before the first probe.</param>
/// <param name="Interval">Time between probes.</param>
/// <param name="Probes">Probes without an answer before the connection is given up.</param>
public sealed record TcpKeepAlive(TimeSpan Idle, TimeSpan Interval, int Probes)
{
    /// <summary>180 seconds, 180 seconds, 9 probes.</summary>
    public static readonly TcpKeepAlive Default = new(TimeSpan.FromSeconds(180), TimeSpan.FromSeconds(180), 9);
}

/// <summary>TCP sockets: no delay, keep-alive, IPv4 and IPv6.</summary>
/// <param name="keepAlive">TCP keep-alive; null for none.</param>
public sealed class SocketTransportFactory(TcpKeepAlive? keepAlive) : TransportFactory
{
    private const int Backlog = 1024;

    /// <summary>Sockets with the default keep-alive.</summary>
    public SocketTransportFactory()
        : this(TcpKeepAlive.Default)
    {
    }

    /// <inheritdoc/>
    public override async ValueTask<TransportConnection> ConnectAsync(IPEndPoint remote, IPAddress? source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(remote);
        var socket = new Socket(remote.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            Prepare(socket);
            if (source is not null)
            {
                socket.Bind(new IPEndPoint(source, 0));
            }

            await socket.ConnectAsync(remote, cancellationToken);
            return new SocketConnection(socket);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new IOException($"cannot connect to {remote}: {e.Message}", e);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override TransportListener Listen(IPEndPoint local)
    {
        ArgumentNullException.ThrowIfNull(local);
        var socket = new Socket(local.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (local.Address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            ReuseAddress(socket);
            socket.Bind(local);
            socket.Listen(Backlog);
            return new SocketListener(this, socket);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new IOException($"cannot listen on {local}: {e.Message}", e);
        }
    }

    // So that a restart does not wait for old connections. SocketOptionName.ReuseAddress would share the port with other listeners, too:
    // half of the connections would then go to a forgotten process.
    private static void ReuseAddress(Socket socket)
    {
        const int SolSocket = 1;
        const int SoReuseAddr = 2;
        if (OperatingSystem.IsLinux())
        {
            socket.SetRawSocketOption(SolSocket, SoReuseAddr, BitConverter.GetBytes(1));
        }
    }

    private void Prepare(Socket socket)
    {
        socket.NoDelay = true;
        if (keepAlive is null)
        {
            return;
        }

        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, (int)keepAlive.Idle.TotalSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, (int)keepAlive.Interval.TotalSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, keepAlive.Probes);
    }

    private sealed class SocketListener(SocketTransportFactory factory, Socket socket) : TransportListener
    {
        public override IPEndPoint LocalEndPoint { get; } = (IPEndPoint)socket.LocalEndPoint!;

        public override async ValueTask<TransportConnection?> AcceptAsync(CancellationToken cancellationToken)
        {
            while (true)
            {
                Socket accepted;
                try
                {
                    accepted = await socket.AcceptAsync(cancellationToken);
                }
                catch (Exception e) when (e is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted or SocketError.Interrupted })
                {
                    return null;
                }

                try
                {
                    factory.Prepare(accepted);
                    return new SocketConnection(accepted);
                }
                catch (SocketException)
                {
                    // The client is gone already.
                    accepted.Dispose();
                }
            }
        }

        public override ValueTask DisposeAsync()
        {
            socket.Dispose();
            return default;
        }
    }

    private sealed class SocketConnection(Socket socket) : TransportConnection
    {
        private const int SolIp = 0;
        private const int SolIpv6 = 41;
        private const int OriginalDestinationOption = 80;
        private readonly NetworkStream _stream = new(socket, ownsSocket: true);

        public override Stream Stream => _stream;

        public override IPEndPoint LocalEndPoint { get; } = NetworkAddress.Canonical((IPEndPoint)socket.LocalEndPoint!);

        public override IPEndPoint RemoteEndPoint { get; } = NetworkAddress.Canonical((IPEndPoint)socket.RemoteEndPoint!);

        public override IPEndPoint OriginalDestination => ReadOriginalDestination(SolIp, 16) ?? ReadOriginalDestination(SolIpv6, 28) ?? LocalEndPoint;

        public override void ShutdownSend()
        {
            try
            {
                socket.Shutdown(SocketShutdown.Send);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // The peer was faster.
            }
        }

        public override void Abort() => socket.Close(timeout: 0);

        public override ValueTask DisposeAsync() => _stream.DisposeAsync();

        // Linux, after REDIRECT: a sockaddr_in or sockaddr_in6. Without a redirection there is an error, or our own address.
        private IPEndPoint? ReadOriginalDestination(int level, int length)
        {
            if (!OperatingSystem.IsLinux() || (level == SolIpv6 && socket.AddressFamily is AddressFamily.InterNetwork))
            {
                return null;
            }

            Span<byte> address = stackalloc byte[length];
            try
            {
                if (socket.GetRawSocketOption(level, OriginalDestinationOption, address) < length)
                {
                    return null;
                }
            }
            catch (SocketException)
            {
                return null;
            }

            var port = BinaryPrimitives.ReadUInt16BigEndian(address[2..]);
            return NetworkAddress.Canonical(new IPEndPoint(new IPAddress(level == SolIp ? address.Slice(4, 4) : address.Slice(8, 16)), port));
        }
    }
}
