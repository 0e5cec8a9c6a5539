using System.Net;
using System.Security.Claims;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Ztunnel;
using Microsoft.AspNetCore.Authorization;

const string Cart = "http://cart.shop.svc.cluster.local/";
var file = Path.Combine(AppContext.BaseDirectory, "mesh.yaml");
using var authority = DevelopmentCertificateAuthority.Create();

// The cart takes HBONE and nothing else; whom it serves is a matter of [Authorize], by service account.
var cartBuilder = Builder("cart");
cartBuilder.WebHost.ConfigureKestrel(kestrel => kestrel.ListenHbone(new IPEndPoint(IPAddress.Parse("127.0.3.2"), 15008)));
cartBuilder.Services.AddAuthorizationBuilder()
    .AddPolicy("customers", policy => policy.RequireServiceAccount("shop/web", "shop/legacy"))
    .AddPolicy("checkout", policy => policy.RequireServiceAccount("shop/web"));
await using var cart = cartBuilder.Build();
cart.MapGet("/", (ClaimsPrincipal user) => $"three apples for {user.Identity!.Name}").RequireAuthorization("customers");
cart.MapPost("/checkout", () => "paid").RequireAuthorization("checkout");
await cart.StartAsync();

// The web front end calls the cart by its name; the request leaves through a tunnel, with the identity of the web front end.
var webBuilder = Builder("web");
webBuilder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
webBuilder.Services.AddHttpClient("cart", client => client.BaseAddress = new Uri(Cart)).AddMesh();
await using var web = webBuilder.Build();
web.MapGet("/", async (IHttpClientFactory clients) => await clients.CreateClient("cart").GetStringAsync(""));
await web.StartAsync();

// A program that knows nothing of the mesh reaches the cart through a ztunnel, which speaks for it.
var nodeBuilder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
nodeBuilder.Services.AddSingleton<ICertificateAuthority>(authority);
nodeBuilder.Services.AddZtunnel(node =>
{
    node.LocalXdsPath = file;
    node.ListenAddress = IPAddress.Parse("127.0.3.3");
    node.Socks5Enabled = true;
    node.Workloads.Add(new WorkloadInfo("shop", "legacy-0", "legacy"));
});
using var node = nodeBuilder.Build();
await node.StartAsync();

using var browser = new HttpClient { BaseAddress = new Uri(web.Urls.First()) };
Console.WriteLine($"web, without a proxy:   {await browser.GetStringAsync("/")}");
using var legacy = new HttpClient(new SocketsHttpHandler { Proxy = new WebProxy("socks5://127.0.3.3:15080") }) { BaseAddress = new Uri(Cart) };
Console.WriteLine($"legacy, by its ztunnel: {await legacy.GetStringAsync("")}");
Console.WriteLine($"legacy at the checkout: {(await legacy.PostAsync("checkout", content: null)).StatusCode}");

WebApplicationBuilder Builder(string serviceAccount)
{
    var builder = WebApplication.CreateSlimBuilder();
    builder.Logging.SetMinimumLevel(LogLevel.Warning);
    builder.Services.AddSingleton<ICertificateAuthority>(authority);
    builder.Services.AddSingleton(LocalConfiguration.Load(file).ToState());
    builder.Services.AddMesh(mesh => mesh.Identity = SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", serviceAccount));
    return builder;
}
