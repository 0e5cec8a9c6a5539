using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>A small HTTP/1.1 server beside the traffic: what readiness, metrics and administration have in common (ztunnel §1).</summary>
internal sealed class AdminHost : IAsyncDisposable
{
    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(1);

    private readonly WebApplication _server;

    private AdminHost(IReadOnlyList<IPEndPoint> endPoints, ILoggerFactory loggers, Action<IServiceCollection>? configure, Action<IApplicationBuilder> pipeline)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(loggers);
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Services.AddRoutingCore();
        configure?.Invoke(builder.Services);
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(2);

            // So that who says nothing does not keep the probe of readiness from its place.
            kestrel.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(5);
            kestrel.Limits.MaxRequestHeadersTotalSize = 8 * 1024;
            kestrel.Limits.MaxRequestBodySize = 64 * 1024;
            kestrel.Limits.MaxConcurrentConnections = 100;
            foreach (var endPoint in endPoints)
            {
                kestrel.Listen(endPoint, listen => listen.Protocols = HttpProtocols.Http1);
            }
        });
        _server = builder.Build();
        pipeline(_server);
    }

    /// <summary>Listens.</summary>
    /// <param name="endPoints">Where to.</param>
    /// <param name="loggers">Where it speaks.</param>
    /// <param name="pipeline">What answers.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <param name="configure">Adds what the pipeline needs; null for nothing.</param>
    /// <exception cref="IOException">A port cannot be had.</exception>
    public static async Task<AdminHost> StartAsync(
        IReadOnlyList<IPEndPoint> endPoints, ILoggerFactory loggers, Action<IApplicationBuilder> pipeline, CancellationToken cancellationToken, Action<IServiceCollection>? configure = null)
    {
        var host = new AdminHost(endPoints, loggers, configure, pipeline);
        try
        {
            await host._server.StartAsync(cancellationToken);
            return host;
        }
        catch (Exception e) when (e is SocketException or IOException)
        {
            await host.DisposeAsync();
            throw e as IOException ?? new IOException($"cannot listen on {string.Join(" and ", endPoints)}: {e.Message}", e);
        }
    }

    /// <summary>Refuses methods other than those named. True when the request may go on.</summary>
    public static bool Allows(HttpContext context, string method)
    {
        if (HttpMethods.Equals(context.Request.Method, method))
        {
            return true;
        }

        context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
        context.Response.Headers.Allow = method;
        return false;
    }

    /// <summary>Accepts no more and lets requests under way end, for a moment.</summary>
    public async ValueTask DisposeAsync()
    {
        using (var deadline = new CancellationTokenSource(StopTimeout, TimeProvider.System))
        {
            await _server.StopAsync(deadline.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await _server.DisposeAsync();
    }

    /// <summary>Signals are the business of the program that we are in; the web server's own host would take SIGTERM and Ctrl-C for itself.</summary>
    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
