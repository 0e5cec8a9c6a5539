using System.Diagnostics.Metrics;
using System.Net;
using System.Reflection;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting.Internal;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Ztunnel.Admin;

/// <summary>The servers beside the traffic, over a mesh and connections that the test makes up.</summary>
internal sealed class AdminStage : IAsyncDisposable
{
    private static int _lastAddress = Environment.ProcessId % 100;

    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();
    private readonly DevelopmentCertificateAuthority _authority;
    private readonly ConnectionTracker _tracker;
    private AdminServers? _servers;

    public AdminStage()
    {
        _authority = DevelopmentCertificateAuthority.Create();
        _tracker = new ConnectionTracker(State);
        AccessLog = new AccessLog(NullLoggerFactory.Instance, Time);
        Certificates = new WorkloadCertificates(_authority);
        var meters = _services.GetRequiredService<IMeterFactory>();
        Options.ListenAddress = IPAddress.Parse($"127.76.{Interlocked.Increment(ref _lastAddress) % 250}.{1 + (Environment.ProcessId % 250)}");
        Options.Workloads.Add(new WorkloadInfo("shop", "cart", "cart"));
        Context = new AdminContext(
            Options, State, Certificates, AccessLog, new ZtunnelMetrics(meters, AccessLog), meters, () => Proxies, () => [], LogLevels, Lifetime, Time, NullLoggerFactory.Instance);
    }

    public FakeTimeProvider Time { get; } = new();

    public ZtunnelOptions Options { get; } = new();

    public MeshState State { get; } = new();

    public AccessLog AccessLog { get; }

    public WorkloadCertificates Certificates { get; }

    public LogLevels LogLevels { get; } = new();

    public ApplicationLifetime Lifetime { get; } = new(NullLogger<ApplicationLifetime>.Instance);

    public AdminContext Context { get; }

    public string Url => $"http://{Options.ListenAddress}:15000";

    public HttpClient Client { get; } = new();

    private IReadOnlyList<ProxyStatus> Proxies => [new ProxyStatus("uid-cart", Options.Workloads[0], new Proxy(_tracker)), new ProxyStatus("uid-late", new WorkloadInfo("shop", "late", "late"), null)];

    public static async Task<AdminStage> StartAsync(Action<AdminStage>? prepare = null)
    {
        var stage = new AdminStage();
        prepare?.Invoke(stage);
        stage._servers = await AdminServers.StartAsync(stage.Context, CancellationToken.None);
        return stage;
    }

    /// <summary>A connection that is open until the test ends it.</summary>
    public TrackedConnection Open(ConnectionRecord record, bool isOpened = true)
    {
        var tracked = _tracker.Track(record.Direction);
        AccessLog.Begin(record);
        tracked.Describe(record);
        if (isOpened)
        {
            AccessLog.Opened(record);
        }

        return tracked;
    }

    /// <summary>A connection that is over.</summary>
    public async Task RecordAsync(ConnectionRecord record, bool wasOpened = false)
    {
        await using var recording = AccessLog.Begin(record);
        if (wasOpened)
        {
            AccessLog.Opened(record);
        }
    }

    /// <summary>Makes a connection have carried octets; else only relays can count them, and they are not ours.</summary>
    public static void Carry(ConnectionRecord record, long sent, long received)
    {
        Count("AddToTunnel", sent);
        Count("AddFromTunnel", received);

        void Count(string method, long octets) =>
            record.Counters.GetType().GetMethod(method, BindingFlags.Instance | BindingFlags.NonPublic)!.Invoke(record.Counters, [octets]);
    }

    public Task<string> GetAsync(string path) => Client.GetStringAsync($"{Url}{path}");

    public async Task<(HttpStatusCode Status, string Text)> PostAsync(string path)
    {
        using var response = await Client.PostAsync($"{Url}{path}", null);
        return (response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await (_servers?.DisposeAsync() ?? default);
        await Certificates.DisposeAsync();
        _authority.Dispose();
        _tracker.Dispose();
        await _services.DisposeAsync();
    }

    private sealed class Proxy(ConnectionTracker tracker) : IWorkloadProxy
    {
        public TrackedConnection[] Connections => tracker.Open();

        public Task StopAsync(CancellationToken deadline) => Task.CompletedTask;

        public ValueTask DisposeAsync() => default;
    }
}
