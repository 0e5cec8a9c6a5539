using System.Net;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.Ztunnel.Outbound;

public sealed class Socks5Tests
{
    [Theory]
    [InlineData("05 01 00  05 01 00 01 0A 00 00 02 1F 90", "10.0.0.2", null, 8080)]
    [InlineData("05 02 02 00  05 01 00 03 03 61 2E 62 00 50", null, "a.b", 80)]
    [InlineData("05 01 00  05 01 00 04 FD 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 00 50", "fd00::2", null, 80)]
    public async Task A_request_is_read(string octets, string? address, string? hostname, int port)
    {
        var (target, _) = await ReadAsync(octets);
        Assert.Equal(new Socks5Target(address is null ? null : IPAddress.Parse(address), hostname, port), target);
    }

    [Theory]
    [InlineData("04 01", "SOCKS version 4; only 5 is supported", "")]
    [InlineData("05 01 02", "the SOCKS client wants to authenticate; only no authentication is supported", "05 FF")]
    [InlineData("05 00", "the SOCKS client wants to authenticate; only no authentication is supported", "05 FF")]
    [InlineData("05 01 00  05 02 00 01 7f", "SOCKS command 2; only CONNECT is supported", "05 00 05 07 00 01 00 00 00 00 00 00")]
    [InlineData("05 01 00  05 01 00 09 7f", "SOCKS address type 9; allowed are 1, 3 and 4", "05 00 05 07 00 01 00 00 00 00 00 00")]
    public async Task A_client_that_breaks_the_protocol_is_told_and_refused(string octets, string fault, string reply)
    {
        var (server, client) = Pair();
        await client.Stream.WriteAsync(Octets(octets));
        var exception = await Assert.ThrowsAsync<Socks5Exception>(() => Socks5.ReadRequestAsync(server.Stream, CancellationToken.None).InTime());
        Assert.Equal(fault, exception.Message);
        await server.DisposeAsync();
        var answered = new MemoryStream();
        await client.Stream.CopyToAsync(answered).InTime();
        Assert.Equal(Octets(reply), answered.ToArray());
    }

    [Fact]
    public async Task A_client_that_ends_in_mid_sentence_is_refused()
    {
        var (server, client) = Pair();
        await client.Stream.WriteAsync(Octets("05 01 00  05 01 00 01 0A"));
        client.ShutdownSend();
        await Assert.ThrowsAsync<EndOfStreamException>(() => Socks5.ReadRequestAsync(server.Stream, CancellationToken.None).InTime());
    }

    private static async Task<(Socks5Target Target, TransportConnection Client)> ReadAsync(string octets)
    {
        var (server, client) = Pair();
        await client.Stream.WriteAsync(Octets(octets));
        return (await Socks5.ReadRequestAsync(server.Stream, CancellationToken.None).InTime(), client);
    }

    private static (TransportConnection Server, TransportConnection Client) Pair() =>
        InMemoryTransportFactory.Connect(IPEndPoint.Parse("10.0.0.1:15080"), IPEndPoint.Parse("10.0.0.1:1000"));

    private static byte[] Octets(string hex) => Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
}
