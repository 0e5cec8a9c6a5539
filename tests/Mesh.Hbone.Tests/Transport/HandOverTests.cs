using System.Net;
using System.Net.Sockets;
using Mesh.Testing;

namespace Mesh.Hbone.Transport;

/// <summary>Two listeners on one port, as of a proxy and the one that follows it.</summary>
public sealed class HandOverTests
{
    private const int Connections = 50;

    [Fact]
    public async Task What_begins_after_it_goes_to_the_second_and_what_has_begun_stays_with_the_first()
    {
        var sockets = new SocketTransportFactory(new SocketTransportOptions { SharePorts = true });
        await using var first = sockets.Listen(new IPEndPoint(IPAddress.IPv6Any, 0));
        using var early = await ConnectAsync(first);
        await using var second = sockets.Listen(first.LocalEndPoint);
        Assert.True(first.HandOver());

        var late = new List<Socket>();
        for (var i = 0; i < Connections; i++)
        {
            late.Add(await ConnectAsync(first));
        }

        Assert.Equal(early.LocalEndPoint, (await AcceptAsync(first)).RemoteEndPoint);
        for (var i = 0; i < Connections; i++)
        {
            await AcceptAsync(second);
        }

        late.ForEach(socket => socket.Dispose());
    }

    [Fact]
    public async Task Who_is_alone_goes_on_and_so_does_who_comes_later()
    {
        var sockets = new SocketTransportFactory(new SocketTransportOptions { SharePorts = true });
        await using var first = sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        Assert.True(first.HandOver());
        using (await ConnectAsync(first))
        {
            await AcceptAsync(first);
        }

        // A second one is not preferred for ever because of what was said before it came.
        await using var second = sockets.Listen(first.LocalEndPoint);
        var (atFirst, atSecond) = (first.AcceptAsync(default).AsTask(), second.AcceptAsync(default).AsTask());
        for (var i = 0; i < 1000 && !(atFirst.IsCompleted && atSecond.IsCompleted); i++)
        {
            (await ConnectAsync(first)).Dispose();
        }

        await atFirst.InTime();
        await atSecond.InTime();
    }

    [Fact]
    public async Task A_port_that_is_not_shared_cannot_be_handed_over()
    {
        await using var alone = new SocketTransportFactory().Listen(new IPEndPoint(IPAddress.Loopback, 0));
        Assert.False(alone.HandOver());
    }

    private static async Task<TransportConnection> AcceptAsync(TransportListener listener) => (await listener.AcceptAsync(default).InTime())!;

    private static async Task<Socket> ConnectAsync(TransportListener listener)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(new IPEndPoint(IPAddress.Loopback, listener.LocalEndPoint.Port)).InTime();
        return socket;
    }
}
