using System.Reflection;
using Mesh.Testing;

namespace Mesh.Architecture;

/// <summary>The public surface of each package is a checked file: a change of it is a change of that file, seen in review.</summary>
public sealed class PublicApiTests
{
    private const string Update = "MESH_UPDATE_PUBLIC_API";

    [Theory]
    [InlineData("Mesh.Core")]
    [InlineData("Mesh.Hbone")]
    [InlineData("Mesh.AspNetCore")]
    [InlineData("Mesh.Xds")]
    [InlineData("Mesh.Ztunnel")]
    public void The_public_surface_is_that_of_the_checked_file(string package)
    {
        var file = Repository.PathOf("src", package, "PublicAPI.txt");
        var actual = PublicApi.Describe(Assembly.Load(package));
        if (Environment.GetEnvironmentVariable(Update) == "1")
        {
            File.WriteAllText(file, actual);
        }

        var expected = File.Exists(file) ? File.ReadAllText(file) : "";
        var difference = Difference(expected, actual);
        Assert.True(difference.Length == 0, $"the public surface of {package} differs from src/{package}/PublicAPI.txt; if it should, run the tests with {Update}=1\n{difference}");
    }

    private static string Difference(string expected, string actual)
    {
        var before = expected.Split('\n');
        var after = actual.Split('\n');
        return string.Join('\n', before.Except(after).Select(line => $"- {line}").Concat(after.Except(before).Select(line => $"+ {line}")));
    }
}
