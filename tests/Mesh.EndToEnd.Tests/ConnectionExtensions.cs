using System.Text;
using Mesh.Hbone.Transport;
using Mesh.Testing;

namespace Mesh.EndToEnd;

internal static class ConnectionExtensions
{
    /// <summary>Says something to an application that echoes, and hears it.</summary>
    public static async Task<string> EchoAsync(this TransportConnection connection, string text)
    {
        await connection.Stream.WriteAsync(Encoding.UTF8.GetBytes(text));
        var heard = new byte[text.Length];
        await connection.Stream.ReadExactlyAsync(heard).InTime();
        return Encoding.UTF8.GetString(heard);
    }

    /// <summary>The connection ends, by an end or by a reset, and nothing comes before that.</summary>
    public static async Task ExpectEndAsync(this TransportConnection connection)
    {
        try
        {
            Assert.Equal(0, await connection.Stream.ReadAsync(new byte[1]).InTime());
        }
        catch (IOException)
        {
            // A reset is an end, too.
        }
    }
}
