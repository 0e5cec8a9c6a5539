using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Load;

/// <summary>The far application, a process of its own: the first octet of a connection says whether it echoes or discards.</summary>
internal static class Application
{
    public const byte Discard = (byte)'d';
    public const byte Echo = (byte)'e';
    public const int Port = 8080;
    public const string Command = "application";
    private const string Listening = "listening";

    public static readonly IPEndPoint EndPoint = new(IPAddress.Parse("127.91.0.2"), Port);

    /// <summary>Starts the process; killing it ends it.</summary>
    public static async Task<Process> StartAsync()
    {
        var start = new ProcessStartInfo("dotnet", [typeof(Application).Assembly.Location, Command]) { RedirectStandardOutput = true, RedirectStandardInput = true, UseShellExecute = false };
        var process = Process.Start(start)!;
        var line = await process.StandardOutput.ReadLineAsync();
        return line == Listening ? process : throw new IOException($"the application did not start: {line}");
    }

    /// <summary>Serves until standard input ends.</summary>
    public static async Task RunAsync()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(EndPoint);
        listener.Listen(4096);
        Console.WriteLine(Listening);
        var accepting = AcceptAsync(listener);
        await Console.In.ReadToEndAsync();
        listener.Dispose();
        await accepting;
    }

    private static async Task AcceptAsync(Socket listener)
    {
        while (true)
        {
            try
            {
                var socket = await listener.AcceptAsync();
                socket.NoDelay = true;
                _ = Task.Run(() => ServeAsync(socket));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private static async Task ServeAsync(Socket socket)
    {
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        var buffer = new byte[4 * 1024];
        try
        {
            await stream.ReadExactlyAsync(buffer.AsMemory(0, 1));
            var echo = buffer[0] == Echo;
            if (!echo)
            {
                buffer = new byte[256 * 1024];
            }

            while (await stream.ReadAsync(buffer) is var read && read > 0)
            {
                if (echo)
                {
                    await stream.WriteAsync(buffer.AsMemory(0, read));
                }
            }
        }
        catch (IOException)
        {
            // The client has gone.
        }
    }
}

/// <summary>Plain connections.</summary>
internal static class Sockets
{
    public static async Task<NetworkStream> ConnectAsync(IPEndPoint address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(address);
        return new NetworkStream(socket, ownsSocket: true);
    }
}
