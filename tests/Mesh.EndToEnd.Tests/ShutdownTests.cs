using System.Net;
using System.Net.Sockets;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>SIGTERM: no more are accepted, what is open may end by itself until the deadline (ztunnel §14).</summary>
public sealed class ShutdownTests
{
    [Fact]
    public async Task An_open_connection_goes_on_and_no_new_one_is_accepted()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var open = await nodes.ConnectAsync();
        Assert.Equal("before", await open.EchoAsync("before"));

        nodes.Cart.Signal("TERM");
        await nodes.Cart.LogsAsync("stopping: 1 connections may go on");

        await Eventually.Until("nobody listens", () => IsRefused(new IPEndPoint(nodes.CartAddress, 15008)));
        Assert.Equal("after", await open.EchoAsync("after"));
        open.ShutdownSend();
        await open.ExpectEndAsync();
        Assert.Equal(0, await nodes.Cart.ExitAsync());
        await nodes.Cart.LogsAsync("connection complete", "bytes_sent=11");
    }

    [Fact]
    public async Task What_is_open_at_the_deadline_is_cut_and_told()
    {
        await using var nodes = await TwoNodes.StartAsync();
        await using var open = await nodes.ConnectAsync();
        Assert.Equal("before", await open.EchoAsync("before"));

        nodes.Web.Signal("TERM");

        await open.ExpectEndAsync();
        Assert.Equal(0, await nodes.Web.ExitAsync());
        await nodes.Web.LogsAsync("connection complete", "error=\"connection closed due to connection drain\"");
    }

    private static bool IsRefused(IPEndPoint address)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Connect(address);
            return false;
        }
        catch (SocketException)
        {
            return true;
        }
    }
}
