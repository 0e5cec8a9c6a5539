using System.IO.Pipelines;
using System.Net;
using Mesh.Testing;

namespace Mesh.Hbone.Transport;

public sealed class DuplexStreamTests
{
    [Theory]
    [InlineData(100)]
    [InlineData(4096)]
    [InlineData(4097)]
    [InlineData(100_000)]
    public async Task A_read_says_how_many_octets_it_has_taken(int count)
    {
        var pipe = new Pipe(new PipeOptions(pauseWriterThreshold: 0));
        foreach (var chunk in Enumerable.Range(0, count).Select(i => (byte)i).Chunk(1000))
        {
            await pipe.Writer.WriteAsync(chunk);
        }

        await using var stream = new DuplexStream(pipe.Reader, new Pipe().Writer);
        var buffer = new byte[count];
        Assert.Equal(count, await stream.ReadAsync(buffer).InTime());
        Assert.Equal(Enumerable.Range(0, count).Select(i => (byte)i), buffer);
    }

    [Fact]
    public async Task A_connection_in_memory_carries_large_writes_whole()
    {
        var (client, server) = InMemoryTransportFactory.Connect(new IPEndPoint(IPAddress.Loopback, 1), new IPEndPoint(IPAddress.Loopback, 2));
        await using var both = client;
        await using var ends = server;
        var sent = new byte[200_000];
        new Random(5).NextBytes(sent);
        await client.Stream.WriteAsync(sent).InTime();
        client.ShutdownSend();

        var received = new MemoryStream();
        await server.Stream.CopyToAsync(received).InTime();
        Assert.Equal(sent, received.ToArray());
    }
}
