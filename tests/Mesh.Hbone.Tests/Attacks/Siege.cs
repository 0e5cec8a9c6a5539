using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using Mesh.Core.Identity;
using Mesh.Hbone.Client;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Mesh.Testing;
using Xunit.Abstractions;

namespace Mesh.Hbone.Attacks;

/// <summary>Nothing else runs beside an attack: its memory is measured.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class AttackGroup
{
    public const string Name = "attacks";
}

/// <summary>A listener of ours with an application that echoes, and somebody well-behaved who uses it all the time. What an attacker does must not concern him.</summary>
internal sealed class Siege : IAsyncDisposable
{
    public static readonly SpiffeId Web = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web");
    public static readonly SpiffeId Cart = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/cart");
    public static readonly SpiffeId Mallory = SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/mallory");

    /// <summary>What a siege may gain where nothing is kept: the pools of arrays, sockets, what the runtime keeps for itself.</summary>
    public const long Slack = 24 * Mebi;
    public const long Mebi = 1024 * 1024;

    private const int ExchangeSize = 8 * 1024;
    private const int SignOfLife = 5;

    private readonly ConcurrentBag<Task> _echoes = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly WorkloadCertificates _certificates;
    private readonly ITestOutputHelper _output;
    private readonly Func<HboneRequest, bool> _accepts;
    private HboneListener _listener = null!;
    private HboneTunnel _tunnel = null!;
    private Task _serving = Task.CompletedTask;
    private TaskCompletionSource _mayAccept = Opened();
    private Task _exchanging = Task.CompletedTask;
    private long _exchanges;

    private Siege(ITestOutputHelper output, Func<HboneRequest, bool> accepts)
    {
        _output = output;
        _accepts = accepts;
        _certificates = new WorkloadCertificates(_authority);
    }

    public HboneListener Listener => _listener;

    public IPEndPoint EndPoint => _listener.LocalEndPoint;

    public WorkloadCertificates Certificates => _certificates;

    public TrustBundle Trust => _authority.TrustBundle;

    /// <summary>Connections that did not come as far as a request.</summary>
    public ConcurrentQueue<HboneConnectionFailure> Failures { get; } = [];

    /// <summary>Requests that the application leaves lying about.</summary>
    public ConcurrentQueue<HboneRequest> Undecided { get; } = [];

    /// <summary>How often the well-behaved one has sent something and got it back.</summary>
    public long Exchanges => Interlocked.Read(ref _exchanges);

    /// <summary>Begins.</summary>
    /// <param name="output">Where the figures go.</param>
    /// <param name="options">Those of the listener.</param>
    /// <param name="accepts">Whether the application takes a request of the attacker's at all; it takes all when null.</param>
    /// <param name="time">The listener's clock.</param>
    /// <param name="maxHandshakes">The listener's limit of handshakes.</param>
    public static async Task<Siege> BeginAsync(
        ITestOutputHelper output, HboneOptions? options = null, Func<HboneRequest, bool>? accepts = null, TimeProvider? time = null, int maxHandshakes = 2_000)
    {
        var siege = new Siege(output, accepts ?? (_ => true));
        siege._listener = HboneListener.Start(new SocketTransportFactory(new SocketTransportOptions { EventLoops = Loops.Shared }).Listen(new IPEndPoint(IPAddress.Loopback, 0)), new HboneListenerOptions
        {
            Certificate = token => siege._certificates.GetAsync(Cart, cancellationToken: token),
            Trust = siege.Trust,
            Hbone = options ?? new HboneOptions(),
            MaxHandshakes = maxHandshakes,
            Time = time ?? TimeProvider.System,
            ConnectionFailed = siege.Failures.Enqueue,
        });
        siege._serving = siege.ServeAsync();
        siege._tunnel = await new HboneClient(siege._certificates).ConnectAsync(new HboneDestination(Web, [Cart], siege.EndPoint), "10.0.0.1:80").InTime();
        siege._exchanging = siege.ExchangeAsync();
        await siege.ProgressAsync();
        return siege;
    }

    /// <summary>Whoever has a certificate, as far as TLS.</summary>
    public async Task<RawPeer> ConnectAsync() => await RawPeer.ConnectAsync(EndPoint, await _certificates.GetAsync(Mallory), Trust, Cart);

    /// <summary>Whoever has a certificate, past the preface.</summary>
    public async Task<RawPeer> ConnectHttp2Async(params (Http2Setting Id, uint Value)[] settings)
    {
        var peer = await ConnectAsync();
        await peer.WriteAsync([.. Http2Peer.Preface, .. Frame.Settings(settings)]);
        await peer.ExpectAsync(frame => frame.Type is FrameType.Settings && frame.Header.Has(FrameFlags.Ack));
        return peer;
    }

    /// <summary>The well-behaved one gets on with it.</summary>
    public async Task ProgressAsync(int exchanges = SignOfLife)
    {
        var goal = Exchanges + exchanges;
        await Eventually.Until("the well-behaved connection makes progress", () => Exchanges >= goal || _exchanging.IsCompleted);
        Assert.False(_exchanging.IsCompleted, $"the well-behaved connection ended: {_exchanging.Exception?.InnerException}");
    }

    /// <summary>Runs an attack as often as it takes for the well-behaved one to make progress beside it, and measures.</summary>
    /// <param name="bound">How much memory the process may gain, in octets, beyond the slack.</param>
    /// <param name="attack">One round. What it holds, it gives back at its end; before that it may call the delegate that it gets, for the height of it.</param>
    public async Task RunAsync(long bound, Func<Func<Task>, Task> attack)
    {
        const int LeastRounds = 3;
        var before = MemoryUse.Now();
        var height = before;
        var (begin, rounds) = (Exchanges, 0);
        while (rounds < LeastRounds || Exchanges < begin + SignOfLife)
        {
            await attack(async () =>
            {
                await ProgressAsync();
                height = MemoryUse.Max(height, MemoryUse.Now());
            }).WaitAsync(Eventually.Bound);
            rounds++;
            await ProgressAsync(1);
        }

        var during = Exchanges - begin;
        var after = MemoryUse.Now();
        await ProgressAsync();
        _output.WriteLine($"{rounds} rounds, {during} exchanges beside it; gained at its height: {height - before}; afterwards: {after - before}; bound {MemoryUse.Text(bound + Slack)}");
        var most = MemoryUse.Max(height, after) - before;
        Assert.True(most.Managed < bound + Slack, $"managed memory: {most}, allowed are {MemoryUse.Text(bound + Slack)}");
        Assert.True(most.Private < (2 * bound) + (4 * Slack), $"private memory: {most}, allowed are {MemoryUse.Text((2 * bound) + (4 * Slack))}");
    }

    /// <summary>The application calls AcceptAsync no more, until the end; it may have one call under way.</summary>
    public void StopAccepting() => _mayAccept = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Say(string text) => _output.WriteLine(text);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _exchanging.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _tunnel.DisposeAsync();
        _mayAccept.TrySetResult();
        while (Undecided.TryDequeue(out var request))
        {
            request.Dispose();
        }

        await _listener.DisposeAsync().InTime();
        await _serving.InTime();

        // Each application has learnt of its end.
        await Task.WhenAll(_echoes).InTime();

        await _certificates.DisposeAsync();
        _authority.Dispose();
        _stop.Dispose();
    }

    private static TaskCompletionSource Opened()
    {
        var opened = new TaskCompletionSource();
        opened.SetResult();
        return opened;
    }

    private async Task ServeAsync()
    {
        while (await _listener.AcceptAsync() is { } request)
        {
            await _mayAccept.Task;
            if (request.PeerIdentity == Web || _accepts(request))
            {
                _echoes.Add(EchoAsync(request));
            }
            else
            {
                Undecided.Enqueue(request);
            }
        }
    }

    private static async Task EchoAsync(HboneRequest request)
    {
        if (request.Method != ConnectRequest.Connect)
        {
            request.Refuse(400);
            return;
        }

        await using var tunnel = request.Accept();
        try
        {
            await tunnel.EchoAsync();
        }
        catch (HboneException)
        {
            // The attacker's end of it.
        }
    }

    private async Task ExchangeAsync()
    {
        var sent = new byte[ExchangeSize];
        new Random(1).NextBytes(sent);
        while (!_stop.IsCancellationRequested)
        {
            await _tunnel.Output.WriteAsync(sent);
            var result = await _tunnel.Input.ReadAtLeastAsync(ExchangeSize);
            var heard = result.Buffer.Slice(0, ExchangeSize);
            if (!System.Buffers.BuffersExtensions.ToArray(heard).AsSpan().SequenceEqual(sent))
            {
                throw new InvalidDataException("what came back is not what was sent");
            }

            _tunnel.Input.AdvanceTo(heard.End);
            Interlocked.Increment(ref _exchanges);
        }
    }
}

/// <summary>What this process holds.</summary>
internal readonly record struct MemoryUse(long Managed, long Private)
{
    public static MemoryUse operator -(MemoryUse left, MemoryUse right) => new(left.Managed - right.Managed, left.Private - right.Private);

    public static MemoryUse Max(MemoryUse left, MemoryUse right) => new(Math.Max(left.Managed, right.Managed), Math.Max(left.Private, right.Private));

    public static MemoryUse Now() => new(GC.GetTotalMemory(forceFullCollection: true), ReadPrivate());

    public static string Text(long octets) => string.Create(CultureInfo.InvariantCulture, $"{octets / (double)Siege.Mebi:0.0} MiB");

    public override string ToString() => $"managed {Text(Managed)}, private {Text(Private)}";

    // What is resident and nobody else's; the runtime's own figure counts reservations, too.
    private static long ReadPrivate()
    {
        const string Label = "RssAnon:";
        if (!OperatingSystem.IsLinux())
        {
            return Environment.WorkingSet;
        }

        var line = File.ReadLines("/proc/self/status").First(line => line.StartsWith(Label, StringComparison.Ordinal));
        return long.Parse(line.AsSpan(Label.Length).Trim().ToString().Split(' ')[0], CultureInfo.InvariantCulture) * 1024;
    }
}
