using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;

namespace Mesh.Benchmarks;

/// <summary>What does a frame allocate once a tunnel runs? Client, TLS, loopback, listener, in this process, both ends counted together.</summary>
/// <remarks>Not a benchmark of BenchmarkDotNet: that collects garbage between runs, by which the pools lose their arrays.</remarks>
internal sealed class SteadyState : IAsyncDisposable
{
    private const int Frames = 200_000;
    private const int WarmUpFrames = 20_000;
    private static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    private static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    private readonly SemaphoreSlim _arrived = new(0);
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private WorkloadCertificates _certificates = null!;
    private HboneListener _listener = null!;
    private HboneTunnel _client = null!;
    private HboneTunnel _server = null!;
    private Task _reading = Task.CompletedTask;

    private long _expected;

    /// <summary>Prints a line for each size of frame.</summary>
    public static async Task ReportAsync()
    {
        foreach (var octets in new[] { 1024, 16 * 1024, 64 * 1024 })
        {
            await using var state = new SteadyState();
            await state.ConnectAsync();
            await state.SendAsync(octets, WarmUpFrames);
            var before = GC.GetTotalAllocatedBytes(precise: true);
            await state.SendAsync(octets, Frames);
            var allocated = GC.GetTotalAllocatedBytes(precise: true) - before;
            Console.WriteLine($"steady state, frames of {octets,6} octets: {(double)allocated / Frames:F2} octets allocated for each, {allocated} for {Frames}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        await _reading;
        await _server.DisposeAsync();
        await _listener.DisposeAsync();
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    private async Task ConnectAsync()
    {
        _certificates = new WorkloadCertificates(_authority);

        // As the executables have it.
        var options = new HboneOptions { InlineCompletions = true };
        var sockets = new SocketTransportFactory(new SocketTransportOptions { EventLoops = OperatingSystem.IsLinux() ? new EventLoopGroup(Environment.ProcessorCount) : null });
        _listener = HboneListener.Start(
            sockets.Listen(new IPEndPoint(IPAddress.Loopback, 0)),
            new HboneListenerOptions { Certificate = token => _certificates.GetAsync(Cart, cancellationToken: token), Trust = _authority.TrustBundle, Hbone = options });
        var connecting = new HboneClient(_certificates, options, transport: sockets).ConnectAsync(new HboneDestination(Web, [Cart], _listener.LocalEndPoint), "10.0.0.7:8080");
        _server = (await _listener.AcceptAsync())!.Accept();
        _client = await connecting;
        _reading = ReadAsync();
    }

    private async Task SendAsync(int octets, int frames)
    {
        var payload = new byte[octets - FrameHeader.Size];
        Volatile.Write(ref _expected, (long)frames * payload.Length);
        for (var i = 0; i < frames; i++)
        {
            await _client.Output.WriteAsync(payload);
        }

        await _arrived.WaitAsync();
    }

    private async Task ReadAsync()
    {
        var received = 0L;
        while (true)
        {
            var result = await _server.Input.ReadAsync();
            received += result.Buffer.Length;
            _server.Input.AdvanceTo(result.Buffer.End);
            if (received == Volatile.Read(ref _expected))
            {
                received = 0;
                _arrived.Release();
            }

            if (result.IsCompleted)
            {
                return;
            }
        }
    }
}
