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
    private const byte Ipv4 = 1;
    private const byte Hostname = 3;
    private const byte Ipv6 = 4;

    // Version, command, reserved, type; a length and as many octets of a name; a port.
    private const int MaxRequestLength = 4 + 1 + 255 + 2;

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
        var buffer = new byte[MaxRequestLength];
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

        // With the first octet of the address, which may be the length of a host name; and then no more than the rest: what follows is the application's.
        await client.ReadExactlyAsync(buffer.AsMemory(0, 5), cancellationToken);
        if (buffer[0] != Version || buffer[1] != Connect)
        {
            throw await UnsupportedAsync(client, $"SOCKS command {buffer[1]}; only CONNECT is supported", cancellationToken);
        }

        var end = buffer[3] switch
        {
            Ipv4 => 4 + 4,
            Ipv6 => 4 + 16,
            Hostname => 5 + buffer[4],
            _ => throw await UnsupportedAsync(client, $"SOCKS address type {buffer[3]}; allowed are {Ipv4}, {Hostname} and {Ipv6}", cancellationToken),
        };
        await client.ReadExactlyAsync(buffer.AsMemory(5, end + 2 - 5), cancellationToken);
        var port = BinaryPrimitives.ReadUInt16BigEndian(buffer.AsSpan(end));
        return buffer[3] is Hostname
            ? new Socks5Target(null, Encoding.ASCII.GetString(buffer, 5, end - 5), port)
            : new Socks5Target(new IPAddress(buffer.AsSpan(4, end - 4)), null, port);
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

    private static async Task<Socks5Exception> UnsupportedAsync(Stream client, string message, CancellationToken cancellationToken)
    {
        await ReplyAsync(client, Socks5Reply.CommandNotSupported, cancellationToken);
        return new Socks5Exception(message);
    }
}
