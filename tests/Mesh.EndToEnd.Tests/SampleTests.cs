using System.Net;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Mesh.Testing;
using Mesh.Xds;

namespace Mesh.EndToEnd;

/// <summary>The samples run, and the README says what they do.</summary>
[Collection(Addresses)]
public sealed class SampleTests
{
    /// <summary>Samples listen on addresses of their own: one at a time.</summary>
    public const string Addresses = "Addresses of samples";

    [Theory]
    [InlineData("--once")]
    [InlineData("--once", "--control-plane")]
    public async Task The_local_mesh_does_what_its_file_says(params string[] arguments)
    {
        await using var sample = Peer.Start("dotnet", [Executable.PathOf("LocalMesh"), .. arguments]);

        Assert.Equal(0, await sample.ExitAsync());
        Assert.Equal(4, Regex.Count(sample.Output, "yes *$", RegexOptions.Multiline));
        Assert.Matches(@"web-0 +cart\.shop\.svc\.cluster\.local +spiffe://cluster\.local/ns/shop/sa/web +allowed +shop/cart-from-web", sample.Output);
        Assert.Matches(@"cart-0 +web\.shop\.svc\.cluster\.local +spiffe://cluster\.local/ns/shop/sa/cart +denied +shop/no-calls-back", sample.Output);
    }

    [Fact]
    public async Task The_embedding_example_runs()
    {
        await using var sample = Peer.Start("dotnet", Executable.PathOf("Embedding"));

        Assert.Equal(0, await sample.ExitAsync());
        Assert.Contains("spiffe://cluster.local/ns/shop/sa/web asked for cart.shop:80 and reads: hello from the cart", sample.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Two_applications_speak_to_each_other_without_a_proxy_and_one_of_them_to_a_ztunnel()
    {
        await using var sample = Peer.Start("dotnet", Executable.PathOf("AspNetCoreApps"));

        Assert.Equal(0, await sample.ExitAsync());
        Assert.Contains("web, without a proxy:   three apples for spiffe://cluster.local/ns/shop/sa/web", sample.Output, StringComparison.Ordinal);
        Assert.Contains("legacy, by its ztunnel: three apples for spiffe://cluster.local/ns/shop/sa/legacy", sample.Output, StringComparison.Ordinal);
        Assert.Contains("legacy at the checkout: Forbidden", sample.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_proxy_of_ones_own_asks_a_policy_and_has_less_than_eighty_lines()
    {
        await using var sample = Peer.Start("dotnet", Executable.PathOf("MinimalProxy"));

        Assert.Equal(0, await sample.ExitAsync());
        Assert.Contains("10.0.0.7:80: hello spiffe://cluster.local/ns/shop/sa/web, you asked for 10.0.0.7:80", sample.Output, StringComparison.Ordinal);
        Assert.Contains("10.0.0.7:9090: allow policies exist, but none allowed", sample.Output, StringComparison.Ordinal);
        Assert.InRange(File.ReadLines(Repository.PathOf("samples", "MinimalProxy", "Program.cs")).Count(), 1, 79);
    }

    [RequiresProgram(ControlPlanePeer.Python, ControlPlanePeer.PythonPackages, ControlPlanePeer.PythonGrpc, ControlPlanePeer.Protoc)]
    public async Task A_console_program_of_less_than_sixty_lines_watches_a_mesh()
    {
        const string TypeUrl = "type.googleapis.com/istio.workload.Address";
        await using var server = await ControlPlanePeer.StartAsync();
        await using var sample = Peer.Start("dotnet", Executable.PathOf("WatchMesh"), $"localhost:{server.Port}", server.RootPath, server.TokenPath);
        await server.NextRequestAsync();
        await server.PushAsync(TypeUrl, "1", [Service("10.96.0.2")]);
        await sample.SaysAsync("added service cart.shop at /10.96.0.2");
        await sample.SaysAsync("ready: 0 workloads, 1 services");
        await server.PushAsync(TypeUrl, "2", [Service("10.96.0.3")]);
        await sample.SaysAsync("changed service cart.shop at /10.96.0.3");
        await server.PushAsync(TypeUrl, "3", [new JsonObject { ["name"] = "u", ["address"] = new JsonObject { ["workload"] = new JsonObject { ["uid"] = "u", ["namespace"] = "shop", ["addresses"] = new JsonArray("CgAAAg==") } } }], "shop/cart.shop");
        await sample.SaysAsync("removed shop/cart.shop");
        await sample.SaysAsync("added workload spiffe://cluster.local/ns/shop/sa/default at 10.0.0.2");
        sample.Signal("INT");

        Assert.Equal(0, await sample.ExitAsync());
        Assert.InRange(File.ReadLines(Repository.PathOf("samples", "WatchMesh", "Program.cs")).Count(), 1, 59);

        static JsonObject Service(string vip) => new()
        {
            ["name"] = "shop/cart.shop",
            ["address"] = new JsonObject
            {
                ["service"] = new JsonObject
                {
                    ["name"] = "cart",
                    ["namespace"] = "shop",
                    ["hostname"] = "cart.shop",
                    ["addresses"] = new JsonArray(new JsonObject { ["address"] = Convert.ToBase64String(IPAddress.Parse(vip).GetAddressBytes()) }),
                },
            },
        };
    }

    [Fact]
    public void The_example_of_the_readme_is_the_one_that_runs()
    {
        var readme = File.ReadAllText(Repository.PathOf("README.md"));
        var example = Regex.Match(readme, "```csharp\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;

        Assert.Equal(File.ReadAllText(Repository.PathOf("samples", "Embedding", "Program.cs")), example);
    }
}
