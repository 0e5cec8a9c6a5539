using System.Collections.Concurrent;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>What must be done before the ztunnel is ready. The names are those of Istio's ztunnel (ztunnel §10.5).</summary>
internal static class ReadinessGate
{
    public const string StateManager = "state manager";
    public const string Proxy = "proxy";
    public const string WorkloadProxyManager = "workload proxy manager";
}

/// <summary>Answers the readiness probe: <c>GET /healthz/ready</c> (ztunnel §10.5).</summary>
internal sealed class ReadinessServer : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, bool> _pending = new([KeyValuePair.Create(ReadinessGate.StateManager, true), KeyValuePair.Create(ReadinessGate.Proxy, true)]);
    private readonly WebApplication _server;

    private ReadinessServer(ZtunnelOptions options, ILoggerFactory loggers)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(loggers);
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(2);
            kestrel.Limits.MaxRequestHeadersTotalSize = 8 * 1024;
            kestrel.Limits.MaxConcurrentConnections = 100;
            kestrel.Listen(options.ListenAddress ?? options.Wildcard, options.ReadinessPort);
        });
        _server = builder.Build();
        _server.Run(AnswerAsync);
    }

    /// <exception cref="IOException">The port cannot be had.</exception>
    public static async Task<ReadinessServer> StartAsync(ZtunnelOptions options, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        var readiness = new ReadinessServer(options, loggers);
        try
        {
            await readiness._server.StartAsync(cancellationToken);
            return readiness;
        }
        catch (SocketException e)
        {
            await readiness.DisposeAsync();
            throw new IOException($"cannot listen on {options.ListenAddress} port {options.ReadinessPort}: {e.Message}", e);
        }
    }

    /// <summary>Says whether one of the gates is passed; it may close again.</summary>
    public void Set(string gate, bool isPassed) => _ = isPassed ? _pending.TryRemove(gate, out _) : _pending.TryAdd(gate, true);

    public async ValueTask DisposeAsync() => await _server.DisposeAsync();

    private Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path != "/healthz/ready")
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        }

        if (!HttpMethods.IsGet(context.Request.Method))
        {
            context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            return Task.CompletedTask;
        }

        var pending = _pending.Keys.Order(StringComparer.Ordinal).ToList();
        context.Response.StatusCode = pending.Count == 0 ? StatusCodes.Status200OK : StatusCodes.Status500InternalServerError;
        return context.Response.WriteAsync(pending.Count == 0 ? "ready\n" : $"not ready, pending: {string.Join(", ", pending)}\n");
    }

    /// <summary>Signals are the business of the program that we are in; the web server's own host would take SIGTERM and Ctrl-C for itself.</summary>
    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
