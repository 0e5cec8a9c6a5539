using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;

namespace Mesh.Ztunnel.Outbound;

/// <summary>The target that a SOCKS5 client names: an address or a host name, and a port.</summary>
internal readonly record struct Socks5Target(IPAddress? Address, string? Hostname, int Port);

/// <summary>Replies of SOCKS5 (RFC 1928, section 6).</summary>
internal enum Socks5Reply : byte
{
    Succeeded = 0,
    GeneralFailure = 1,
    HostUnreachable = 4,
    CommandNotSupported = 7,
}

/// <summary>The client speaks SOCKS5 wrongly, or wants what we do not offer.</summary>
internal sealed class Socks5Exception(string message, Exception? innerException = null) : IOException(message, innerException);

/// <summary>The server's side of the SOCKS5 opening (RFC 1928): no authentication, CONNECT only.</summary>
internal static class Socks5
{
    private const byte Version = 5;
    private const byte NoAuthentication = 0;
    private const byte NoAcceptableMethod = 0xFF;
    private const byte Connect = 1;

    private static readonly TimeSpan OpenTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Reads greeting and request, finds the address and replies. The success is told before the connection is there, as ztunnel does (ztunnel §1.1).</summary>
    /// <param name="application">The client.</param>
    /// <param name="resolve">Finds the address of a host name; null when it has none.</param>
    /// <param name="time">The clock.</param>
    /// <param name="closed">Cancelled when the connection must end.</param>
    /// <exception cref="Socks5Exception">The client broke the protocol, or took too long, or names nothing that can be found.</exception>
    public static async Task<IPEndPoint> OpenAsync(TransportConnection application, Func<string, Task<IPAddress?>> resolve, TimeProvider time, CancellationToken closed)
    {
        using var deadline = new CancellationTokenSource(OpenTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, closed);
        try
        {
            var target = await ReadRequestAsync(application.Stream, either.Token);
            if ((target.Address ?? await resolve(target.Hostname!).WaitAsync(either.Token)) is not { } address)
            {
                await ReplyAsync(application.Stream, Socks5Reply.HostUnreachable, either.Token);
                throw new Socks5Exception($"the host name '{target.Hostname}' cannot be resolved");
            }

            await ReplyAsync(application.Stream, Socks5Reply.Succeeded, either.Token);
            return NetworkAddress.Canonical(new IPEndPoint(address, target.Port));
        }
        catch (OperationCanceledException e) when (deadline.IsCancellationRequested)
        {
            throw new Socks5Exception($"the SOCKS client did not complete its request within {OpenTimeout}", e);
        }
    }

    /// <summary>Reads greeting and request; the reply is still owed.</summary>
    /// <exception cref="Socks5Exception">The client broke the protocol; a reply has been sent where there is one for it.</exception>
    public static async Task<Socks5Target> ReadRequestAsync(Stream client, CancellationToken cancellationToken)
    {
        var buffer = new byte[256];
        await client.ReadExactlyAsync(buffer.AsMemory(0, 2), cancellationToken);
        if (buffer[0] != Version)
        {
            throw new Socks5Exception($"SOCKS version {buffer[0]}; only {Version} is supported");
        }

        var methods = buffer.AsMemory(0, buffer[1]);
        await client.ReadExactlyAsync(methods, cancellationToken);
        var acceptable = methods.Span.Contains(NoAuthentication);
        await client.WriteAsync(new byte[] { Version, acceptable ? NoAuthentication : NoAcceptableMethod }, cancellationToken);
        if (!acceptable)
        {
            throw new Socks5Exception("the SOCKS client wants to authenticate; only no authentication is supported");
        }

        await client.ReadExactlyAsync(buffer.AsMemory(0, 4), cancellationToken);
        if (buffer[0] != Version || buffer[1] != Connect)
        {
            throw await UnsupportedAsync(client, $"SOCKS command {buffer[1]}; only CONNECT is supported", cancellationToken);
        }

        switch (buffer[3])
        {
            case 1:
                await client.ReadExactlyAsync(buffer.AsMemory(0, 4 + 2), cancellationToken);
                return new Socks5Target(new IPAddress(buffer.AsSpan(0, 4)), null, Port(buffer.AsSpan(4)));
            case 4:
                await client.ReadExactlyAsync(buffer.AsMemory(0, 16 + 2), cancellationToken);
                return new Socks5Target(new IPAddress(buffer.AsSpan(0, 16)), null, Port(buffer.AsSpan(16)));
            case 3:
                await client.ReadExactlyAsync(buffer.AsMemory(0, 1), cancellationToken);
                var length = buffer[0];
                await client.ReadExactlyAsync(buffer.AsMemory(0, length), cancellationToken);
                var hostname = Encoding.ASCII.GetString(buffer, 0, length);
                await client.ReadExactlyAsync(buffer.AsMemory(0, 2), cancellationToken);
                return new Socks5Target(null, hostname, Port(buffer));
            default:
                throw await UnsupportedAsync(client, $"SOCKS address type {buffer[3]}; allowed are 1, 3 and 4", cancellationToken);
        }
    }

    /// <summary>Sends the reply, with the bound address 0.0.0.0:0.</summary>
    public static ValueTask ReplyAsync(Stream client, Socks5Reply reply, CancellationToken cancellationToken) =>
        client.WriteAsync(new byte[] { Version, (byte)reply, 0, 1, 0, 0, 0, 0, 0, 0 }, cancellationToken);

    /// <summary>Chooses among resolved addresses: the first of the client's own family, else the first.</summary>
    public static IPAddress? Choose(IEnumerable<IPAddress> addresses, AddressFamily family)
    {
        var all = addresses.ToList();
        return all.Find(address => address.AddressFamily == family) ?? all.FirstOrDefault();
    }

    private static int Port(ReadOnlySpan<byte> octets) => BinaryPrimitives.ReadUInt16BigEndian(octets);

    private static async Task<Socks5Exception> UnsupportedAsync(Stream client, string message, CancellationToken cancellationToken)
    {
        await ReplyAsync(client, Socks5Reply.CommandNotSupported, cancellationToken);
        return new Socks5Exception(message);
    }
}
