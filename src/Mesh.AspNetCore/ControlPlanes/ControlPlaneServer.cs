using System.Net;
using System.Net.Security;
using Mesh.Core.Identity;
using Mesh.Xds.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.AspNetCore.ControlPlanes;

/// <summary>A control plane on a port of its own: TLS 1.3 with a certificate of its authority, which it renews, and clients known by token or certificate.</summary>
public sealed class ControlPlaneServer : IAsyncDisposable
{
    private static readonly TimeSpan PingDelay = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan PingTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(2);

    private readonly WebApplication _app;

    private ControlPlaneServer(WebApplication app)
    {
        _app = app;
        var address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        LocalEndPoint = IPEndPoint.Parse(address[(address.IndexOf("://", StringComparison.Ordinal) + 3)..]);
    }

    /// <summary>Where it listens.</summary>
    public IPEndPoint LocalEndPoint { get; }

    /// <summary>Begins to listen.</summary>
    /// <param name="controlPlane">What it serves.</param>
    /// <param name="authority">What signs its own certificate, and whose roots vouch for clients' certificates.</param>
    /// <param name="options">Its settings.</param>
    /// <param name="time">The clock.</param>
    /// <param name="loggers">Where it speaks.</param>
    /// <param name="cancellationToken">Ends the start.</param>
    /// <exception cref="IOException">The port cannot be had.</exception>
    public static async Task<ControlPlaneServer> StartAsync(
        ControlPlane controlPlane,
        DevelopmentCertificateAuthority authority,
        ControlPlaneServerOptions? options = null,
        TimeProvider? time = null,
        ILoggerFactory? loggers = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(controlPlane);
        ArgumentNullException.ThrowIfNull(authority);
        options ??= new ControlPlaneServerOptions();
        time ??= TimeProvider.System;
        var certificate = new ServerCertificate(authority, options.Names, time);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(loggers ?? NullLoggerFactory.Instance);
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Services.AddRoutingCore();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = StopTimeout);
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            // Over HTTP/2 it has no setting for a single request, and would cut streams before ControlPlaneOptions.StallTimeout.
            kestrel.Limits.MinResponseDataRate = null;
            kestrel.Limits.Http2.KeepAlivePingDelay = PingDelay;
            kestrel.Limits.Http2.KeepAlivePingTimeout = PingTimeout;
            kestrel.AddServerHeader = false;
            kestrel.Listen(options.ListenEndPoint, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.UseHttps(new TlsHandshakeCallbackOptions
                {
                    OnConnection = _ => ValueTask.FromResult(SpiffeTls.ControlPlaneOptions(certificate.Current, authority.TrustBundle, time)),
                });
            });
        });
        var app = builder.Build();
        app.MapControlPlane(controlPlane);
        try
        {
            await app.StartAsync(cancellationToken);
            return new ControlPlaneServer(app);
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
    }

    /// <summary>Ends all calls and stops to listen.</summary>
    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(CancellationToken.None);
        await _app.DisposeAsync();
    }

    /// <summary>The server's certificate, made anew at half of its lifetime.</summary>
    private sealed class ServerCertificate(DevelopmentCertificateAuthority authority, IReadOnlyList<string> names, TimeProvider time)
    {
        private readonly Lock _gate = new();
        private SslStreamCertificateContext? _current;
        private DateTimeOffset _renewal;

        public SslStreamCertificateContext Current
        {
            get
            {
                lock (_gate)
                {
                    var now = time.GetUtcNow();
                    if (_current is null || now >= _renewal)
                    {
                        var issued = authority.IssueServer(names);
                        _current = SslStreamCertificateContext.Create(issued, additionalCertificates: null, offline: true);
                        _renewal = now + ((issued.NotAfter.ToUniversalTime() - now.UtcDateTime) / 2);
                    }

                    return _current;
                }
            }
        }
    }

    /// <summary>Signals are for the program around.</summary>
    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
