using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>What somebody sees who listens on the wire between two nodes.</summary>
public sealed class WireTests
{
    [RequiresProgram("tshark", "tshark")]
    public async Task The_wire_carries_tls_1_3_and_nothing_that_can_be_read()
    {
        const string Secret = "a-payload-that-nobody-else-may-read";
        var capture = Path.GetTempFileName();
        try
        {
            await using var nodes = await TwoNodes.StartAsync();
            var filter = $"host {nodes.CartAddress} and tcp port 15008";
            await using (var tshark = Peer.Start("tshark", "-i", "lo", "-f", filter, "-w", capture, "-P", "-l", "-d", "tcp.port==15008,tls"))
            {
                await tshark.LogsAsync("Capturing on");
                await using (var connection = await nodes.ConnectAsync())
                {
                    Assert.Equal(Secret, await connection.EchoAsync(Secret));
                    await tshark.LogsAsync("Application Data");
                }

                await nodes.Cart.LogsAsync("connection complete");
                tshark.Signal("INT");
                await tshark.ExitAsync();
            }

            var octets = await File.ReadAllBytesAsync(capture);
            Assert.True(octets.Length > 2000, "the capture holds a connection");
            Assert.Equal(-1, octets.AsSpan().IndexOf(System.Text.Encoding.ASCII.GetBytes(Secret)));
            Assert.Equal(-1, octets.AsSpan().IndexOf("PRI * HTTP/2.0"u8));
            Assert.Equal(-1, octets.AsSpan().IndexOf("spiffe://"u8));

            // The version that the server chose, as its hello says: 0x0304 is TLS 1.3.
            await using var reader = Peer.Start("tshark", "-r", capture, "-d", "tcp.port==15008,tls", "-Y", "tls.handshake.type==2", "-T", "fields", "-e", "tls.handshake.extensions.supported_version");
            await reader.ExitAsync();
            Assert.Contains("0x0304", reader.Output, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(capture);
        }
    }
}
