using System.Net;
using System.Security.Claims;
using Mesh.AspNetCore.Client;
using Mesh.AspNetCore.Server;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;
using Mesh.Testing;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.AspNetCore;

/// <summary>A cart that takes HBONE, and clients of it, on a network in memory.</summary>
internal sealed class Shop : IAsyncDisposable
{
    public const string CartHost = "cart.shop.svc.cluster.local";
    public static readonly IPEndPoint CartAddress = new(IPAddress.Parse("10.0.0.2"), 15008);
    public static readonly SpiffeId Cart = Identity("cart");

    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly List<IAsyncDisposable> _clients = [];
    private readonly string _policies;
    private WebApplication? _app;

    private Shop(string policies) => _policies = policies;

    /// <summary>What the cart knows of the mesh.</summary>
    public MeshState State => _app!.Services.GetRequiredService<MeshState>();

    public TransportFactory Network { get; } = new InMemoryTransportFactory();

    public static SpiffeId Identity(string serviceAccount) => SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", serviceAccount);

    public static async Task<Shop> OpenAsync(string policies = "", Action<WebApplication>? map = null, Action<MeshOptions>? configure = null)
    {
        var shop = new Shop(policies);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenHbone(CartAddress));
        builder.Services.AddRoutingCore();
        shop.AddMesh(builder.Services, "cart");
        builder.Services.Configure<MeshOptions>(options => configure?.Invoke(options));
        builder.Services.AddAuthorizationBuilder().AddPolicy("web", policy => policy.RequireServiceAccount("shop/web"));
        var app = shop._app = builder.Build();
        app.MapGet("/", (HttpContext context) => $"{context.Request.Protocol} {context.User.Identity!.Name} {context.Features.Get<IHboneTunnelFeature>()!.Authority} {context.Connection.RemoteIpAddress}");
        app.MapGet("/claims", (ClaimsPrincipal user) => string.Join(' ', user.Claims.Select(claim => $"{claim.Type}={claim.Value}")));
        app.MapGet("/web", () => "for the web").RequireAuthorization("web");
        var kept = Array.Empty<byte>();
        app.MapPut("/kept", async (HttpContext context) =>
        {
            var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            kept = body.ToArray();
        });
        app.MapGet("/kept", () => Results.Bytes(kept));
        map?.Invoke(app);
        await app.StartAsync().InTime();
        return shop;
    }

    /// <summary>A client with an identity; it finds the cart in the state, or is given a waypoint.</summary>
    public HttpClient Client(string serviceAccount, MeshWaypoint? waypoint = null, Action<MeshOptions>? configure = null)
    {
        var client = Services(
            serviceAccount,
            services =>
            {
                services.AddHttpClient("cart", client => client.BaseAddress = new Uri($"http://{CartHost}/")).AddMesh(waypoint);
                services.Configure<MeshOptions>(options => configure?.Invoke(options));
            })
            .GetRequiredService<IHttpClientFactory>().CreateClient("cart");
        client.Timeout = TimeSpan.FromSeconds(20);
        return client;
    }

    public MeshConnector Connector(string serviceAccount) => Services(serviceAccount).GetRequiredService<MeshConnector>();

    public HbonePool Pool(string serviceAccount) => Services(serviceAccount).GetRequiredService<HbonePool>();

    public Task StopAsync() => _app!.StopAsync();

    public async ValueTask DisposeAsync()
    {
        foreach (var client in _clients)
        {
            await client.DisposeAsync();
        }

        await _app!.DisposeAsync().AsTask().InTime();
        _authority.Dispose();
    }

    private ServiceProvider Services(string serviceAccount, Action<IServiceCollection>? configure = null)
    {
        var services = new ServiceCollection();
        services.AddSingleton<ILoggerFactory>(NullLoggerFactory.Instance).AddSingleton(typeof(ILogger<>), typeof(NullLogger<>));
        AddMesh(services, serviceAccount);
        configure?.Invoke(services);
        var provider = services.BuildServiceProvider();
        _clients.Add(provider);
        return provider;
    }

    private void AddMesh(IServiceCollection services, string serviceAccount)
    {
        services.AddSingleton<ICertificateAuthority>(_authority);
        services.AddSingleton(Network);
        services.AddSingleton(LocalConfiguration.Parse(
            $$$"""
            workloads:
            - {name: cart-0, namespace: shop, serviceAccount: cart, workloadIps: [10.0.0.2], protocol: HBONE, services: {shop/{{{CartHost}}}: {80: 80} } }
            - {name: plain-0, namespace: shop, serviceAccount: plain, workloadIps: [10.0.0.3], protocol: TCP, services: {}}
            services:
            - {name: cart, namespace: shop, hostname: {{{CartHost}}}, vips: [/10.96.0.2], ports: {80: 80}}
            {{{_policies}}}
            """).ToState());
        services.AddMesh(mesh => mesh.Identity = Identity(serviceAccount));
    }
}
