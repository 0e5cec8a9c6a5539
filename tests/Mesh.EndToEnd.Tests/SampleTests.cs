using System.Text.RegularExpressions;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>The samples run, and the README says what they do.</summary>
public sealed class SampleTests
{
    [Fact]
    public async Task The_local_mesh_does_what_its_file_says()
    {
        await using var sample = Peer.Start("dotnet", Executable.PathOf("LocalMesh"), "--once");

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
    public void The_example_of_the_readme_is_the_one_that_runs()
    {
        var readme = File.ReadAllText(Repository.PathOf("README.md"));
        var example = Regex.Match(readme, "```csharp\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;

        Assert.Equal(File.ReadAllText(Repository.PathOf("samples", "Embedding", "Program.cs")), example);
    }
}
