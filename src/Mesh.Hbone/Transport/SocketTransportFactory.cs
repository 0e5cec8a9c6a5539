using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Mesh.Hbone.Transport;

/// <summary>TCP sockets: no delay, keep-alive, IPv4 and IPv6.</summary>
/// <param name="options">How sockets are made.</param>
public class SocketTransportFactory(SocketTransportOptions options) : TransportFactory
{
    private const int Backlog = 1024;

    // For connections with an address that is another's.
    private const int FirstKeptSourcePort = 10_000;
    private const int LastKeptSourcePort = 32_767;
    private const int MaxPortsTried = 16;

    /// <summary>Sockets with the default keep-alive and nothing else.</summary>
    public SocketTransportFactory()
        : this(new SocketTransportOptions())
    {
    }

    /// <inheritdoc/>
    public override async ValueTask<TransportConnection> ConnectAsync(IPEndPoint remote, IPAddress? source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(remote);
        for (var attempt = 1; ; attempt++)
        {
            Socket? socket = null;
            var isPortChosen = false;
            try
            {
                socket = OpenSocket(remote.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                Mark(socket);
                Prepare(socket);
                if (source is not null)
                {
                    isPortChosen = BindSource(socket, source);
                }

                // Who connects for a socket of a loop gets one of the same: what belongs together meets no other thread.
                if (options.EventLoops is not null && (EventLoop.Current ?? NextLoop()) is { } loop)
                {
                    if (source is null)
                    {
                        // Else the socket does not know that it has an address when it is connected.
                        BindAddress(socket, remote.AddressFamily is AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any);
                    }

                    return new SocketConnection(socket, remote, await PolledStream.ConnectAsync(socket, loop, remote, cancellationToken));
                }

                await socket.ConnectAsync(remote, cancellationToken);
                return new SocketConnection(socket, remote, new SocketStream(socket));
            }
            catch (SocketException e) when (isPortChosen && e.SocketErrorCode is SocketError.AddressNotAvailable or SocketError.AddressAlreadyInUse && attempt < MaxPortsTried)
            {
                // The port was taken.
                socket?.Dispose();
            }
            catch (SocketException e)
            {
                socket?.Dispose();
                throw new IOException($"cannot connect to {remote}: {e.Message}", e);
            }
            catch
            {
                socket?.Dispose();
                throw;
            }
        }
    }

    /// <inheritdoc/>
    public override TransportListener Listen(IPEndPoint local)
    {
        ArgumentNullException.ThrowIfNull(local);
        Socket? socket = null;
        try
        {
            socket = OpenSocket(local.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            if (local.Address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            Mark(socket);
            Share(socket);
            if (OperatingSystem.IsLinux())
            {
                // Linux gives what is accepted the options of the listener: five calls less for each connection.
                Prepare(socket);
            }

            var isTransparent = options.Transparent is not TransparentMode.Never && TryMakeTransparent(socket);
            socket.Bind(local);
            socket.Listen(Backlog);
            if (SharesPorts)
            {
                ReusePortGroup.Spread(socket);
            }

            return new SocketListener(this, socket, isTransparent);
        }
        catch (SocketException e)
        {
            socket?.Dispose();
            throw new IOException($"cannot listen on {local}: {e.Message}", e);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    /// <summary>Opens a UDP socket on an address, for example for DNS.</summary>
    /// <exception cref="IOException">The address cannot be had; the message names it.</exception>
    public Socket BindDatagram(IPEndPoint local)
    {
        ArgumentNullException.ThrowIfNull(local);
        Socket? socket = null;
        try
        {
            socket = OpenSocket(local.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            Mark(socket);
            if (local.Port != 0)
            {
                Share(socket);
            }

            socket.Bind(local);
            return socket;
        }
        catch (SocketException e)
        {
            socket?.Dispose();
            throw new IOException($"cannot listen on UDP {local}: {e.Message}", e);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    /// <summary>Whether an address is one of ours, where the sockets are: ::1, for example, is not where IPv6 is switched off.</summary>
    public bool CanBind(IPAddress address)
    {
        try
        {
            BindDatagram(new IPEndPoint(address, 0)).Dispose();
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private bool SharesPorts => options.SharePorts && OperatingSystem.IsLinux();

    private EventLoop? NextLoop() => options.EventLoops?.Next();

    /// <summary>Opens a socket. Override it to have all sockets in another network namespace.</summary>
    /// <exception cref="SocketException">The system does not give one.</exception>
    protected virtual Socket OpenSocket(AddressFamily family, SocketType type, ProtocolType protocol) => new(family, type, protocol);

    // SO_REUSEADDR, so that a restart does not wait for old connections. SocketOptionName.ReuseAddress would share the port with other
    // listeners, too: half of the connections would then go to a forgotten process. That is SO_REUSEPORT, and has to be asked for.
    private void Share(Socket socket)
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        if (socket.SocketType is SocketType.Stream)
        {
            SetRaw(socket, LinuxOption.ReuseAddress);
        }

        if (options.SharePorts)
        {
            SetRaw(socket, LinuxOption.ReusePort);
        }
    }

    private void Mark(Socket socket)
    {
        if (options.PacketMark is { } mark && OperatingSystem.IsLinux())
        {
            SetPrivileged(socket, LinuxOption.Mark, (int)mark, "SO_MARK");
        }
    }

    // Whether the port was chosen here. It must be none that the owner of the address chooses itself for the same destination, or connection tracking takes one
    // connection for the other, and the owner's hangs: none of those that systems give out (32768 to 60999, and above by NAT).
    private bool BindSource(Socket socket, IPAddress source)
    {
        if (!OperatingSystem.IsLinux() || options.Transparent is TransparentMode.Never || !TryMakeTransparent(socket))
        {
            BindAddress(socket, source);
            return false;
        }

        SetRaw(socket, socket.AddressFamily is AddressFamily.InterNetwork ? LinuxOption.FreeBind : LinuxOption.FreeBindV6);

        // A port may be used again for another destination.
        SetRaw(socket, LinuxOption.ReuseAddress);
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                socket.Bind(new IPEndPoint(source, RandomNumberGenerator.GetInt32(FirstKeptSourcePort, LastKeptSourcePort + 1)));
                return true;
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.AddressAlreadyInUse && attempt < MaxPortsTried)
            {
                // Somebody listens there.
            }
        }
    }

    // Ports of the source are of no interest, so the system need not reserve one before it knows the destination.
    private static void BindAddress(Socket socket, IPAddress address)
    {
        if (OperatingSystem.IsLinux())
        {
            SetRaw(socket, LinuxOption.BindAddressNoPort);
        }

        socket.Bind(new IPEndPoint(address, 0));
    }

    private bool TryMakeTransparent(Socket socket)
    {
        if (!OperatingSystem.IsLinux())
        {
            return false;
        }

        try
        {
            SetPrivileged(socket, socket.AddressFamily is AddressFamily.InterNetwork ? LinuxOption.Transparent : LinuxOption.TransparentV6, 1, "IP_TRANSPARENT");
            return true;
        }
        catch (IOException) when (options.Transparent is TransparentMode.IfPossible)
        {
            return false;
        }
    }

    // Else it would look as if the peer could not be reached.
    private static void SetPrivileged(Socket socket, (int Level, int Name) option, int value, string name)
    {
        try
        {
            SetRaw(socket, option, value);
        }
        catch (SocketException e)
        {
            throw new IOException($"cannot set {name} on a socket, which needs the capability CAP_NET_ADMIN: {e.Message}", e);
        }
    }

    private static void SetRaw(Socket socket, (int Level, int Name) option, int value = 1) =>
        socket.SetRawSocketOption(option.Level, option.Name, BitConverter.GetBytes(value));

    private void Prepare(Socket socket)
    {
        socket.NoDelay = true;
        if (options.KeepAlive is not { } keepAlive)
        {
            return;
        }

        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, (int)keepAlive.Idle.TotalSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, (int)keepAlive.Interval.TotalSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, keepAlive.Probes);
        if (options.UserTimeout && OperatingSystem.IsLinux())
        {
            SetRaw(socket, LinuxOption.UserTimeout, (int)(keepAlive.Idle + (keepAlive.Interval * keepAlive.Probes)).TotalMilliseconds);
        }
    }

    // Of <asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>, <linux/tcp.h>.
    private static class LinuxOption
    {
        public static readonly (int, int) ReuseAddress = (1, 2);
        public static readonly (int, int) ReusePort = (1, 15);
        public static readonly (int, int) Mark = (1, 36);
        public static readonly (int, int) FreeBind = (0, 15);
        public static readonly (int, int) Transparent = (0, 19);
        public static readonly (int, int) BindAddressNoPort = (0, 24);
        public static readonly (int, int) UserTimeout = (6, 18);
        public static readonly (int, int) TransparentV6 = (41, 75);
        public static readonly (int, int) FreeBindV6 = (41, 78);
    }

    private sealed class SocketListener(SocketTransportFactory factory, Socket socket, bool isTransparent) : TransportListener
    {
        private readonly PolledAcceptor? _polled = factory.NextLoop() is { } loop ? new PolledAcceptor(socket, loop) : null;

        public override bool IsTransparent => isTransparent;

        public override bool HandOver() => factory.SharesPorts && ReusePortGroup.PreferTheSecond(socket);

        public override IPEndPoint LocalEndPoint { get; } = (IPEndPoint)socket.LocalEndPoint!;

        public override async ValueTask<TransportConnection?> AcceptAsync(CancellationToken cancellationToken)
        {
            while (true)
            {
                Socket accepted;
                try
                {
                    accepted = await (_polled?.AcceptAsync(cancellationToken) ?? socket.AcceptAsync(cancellationToken));
                }
                catch (Exception e) when (e is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted or SocketError.Interrupted })
                {
                    return null;
                }

                Stream? stream = null;
                try
                {
                    if (!OperatingSystem.IsLinux())
                    {
                        factory.Prepare(accepted);
                    }

                    var remote = (IPEndPoint)accepted.RemoteEndPoint!;
                    stream = factory.NextLoop() is { } loop ? new PolledStream(accepted, loop) : new SocketStream(accepted);
                    return new SocketConnection(accepted, remote, stream);
                }
                catch (SocketException)
                {
                    // The client is gone already.
                    stream?.Dispose();
                    accepted.Dispose();
                }
                catch
                {
                    accepted.Dispose();
                    throw;
                }
            }
        }

        public override ValueTask DisposeAsync()
        {
            socket.Dispose();
            _polled?.Dispose();
            return default;
        }
    }
}
