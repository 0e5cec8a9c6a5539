using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>What must be done before the ztunnel is ready. The names are those of Istio's ztunnel (ztunnel §10.5).</summary>
internal static class ReadinessGate
{
    public const string StateManager = "state manager";
    public const string Proxy = "proxy";
    public const string DnsProxy = "dns proxy";
    public const string WorkloadProxyManager = "workload proxy manager";
}

/// <summary>Answers the readiness probe: <c>GET /healthz/ready</c> (ztunnel §10.5).</summary>
internal sealed class ReadinessServer : IAsyncDisposable
{
    // With what a gate is waiting for, where that can be said.
    private readonly ConcurrentDictionary<string, Func<string?>> _pending = new([KeyValuePair.Create(ReadinessGate.StateManager, Unsaid), KeyValuePair.Create(ReadinessGate.Proxy, Unsaid)]);
    private AdminHost? _host;

    private ReadinessServer()
    {
    }

    /// <exception cref="IOException">The port cannot be had.</exception>
    public static async Task<ReadinessServer> StartAsync(ZtunnelOptions options, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        var readiness = new ReadinessServer();
        var endPoint = new IPEndPoint(options.ListenAddress ?? options.Wildcard, options.ReadinessPort);
        readiness._host = await AdminHost.StartAsync([endPoint], loggers, pipeline => pipeline.Run(readiness.AnswerAsync), cancellationToken);
        return readiness;
    }

    /// <summary>Says whether one of the gates is passed; it may close again.</summary>
    /// <param name="gate">One of <see cref="ReadinessGate"/>.</param>
    /// <param name="isPassed">Whether it is passed.</param>
    /// <param name="why">What it waits for, asked at each probe; null when there is nothing to say.</param>
    public void Set(string gate, bool isPassed, Func<string?>? why = null) =>
        _ = isPassed ? _pending.TryRemove(gate, out _) : _pending.AddOrUpdate(gate, why ?? Unsaid, (_, old) => why ?? old) is not null;

    public ValueTask DisposeAsync() => _host?.DisposeAsync() ?? default;

    private Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path != "/healthz/ready")
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        }

        if (!AdminHost.Allows(context, HttpMethods.Get))
        {
            return Task.CompletedTask;
        }

        var pending = _pending.OrderBy(gate => gate.Key, StringComparer.Ordinal).ToList();
        context.Response.StatusCode = pending.Count == 0 ? StatusCodes.Status200OK : StatusCodes.Status500InternalServerError;
        var reasons = pending.Select(gate => gate.Value() is { } why ? $"{gate.Key}: {why}\n" : "");
        return context.Response.WriteAsync(pending.Count == 0 ? "ready\n" : $"not ready, pending: {string.Join(", ", pending.Select(gate => gate.Key))}\n{string.Concat(reasons)}");
    }

    private static string? Unsaid() => null;
}
