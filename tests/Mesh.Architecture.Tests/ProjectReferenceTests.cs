using System.Xml.Linq;
using Mesh.Testing;

namespace Mesh.Architecture;

/// <summary>References between the projects under <c>src/</c> point down only.</summary>
public sealed class ProjectReferenceTests
{
    // What each project may refer to.
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Mesh.Core"] = [],
        ["Mesh.Hbone"] = ["Mesh.Core"],
        ["Mesh.Xds"] = ["Mesh.Core"],
        ["Mesh.AspNetCore"] = ["Mesh.Core", "Mesh.Hbone", "Mesh.Xds"],
        ["Mesh.Ztunnel"] = ["Mesh.Core", "Mesh.Hbone", "Mesh.Xds"],
        ["Mesh.Waypoint"] = ["Mesh.Core", "Mesh.Hbone", "Mesh.Xds"],
        ["Mesh.Cli"] = ["Mesh.AspNetCore", "Mesh.Core", "Mesh.Xds"],
    };

    // Who may depend on the web framework.
    private static readonly string[] WebProjects = ["Mesh.AspNetCore", "Mesh.Ztunnel", "Mesh.Waypoint"];

    public static TheoryData<string> Projects => [.. Directory.GetFiles(Repository.PathOf("src"), "*.csproj", SearchOption.AllDirectories).Select(path => Path.GetFileNameWithoutExtension(path))];

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_refers_only_to_those_below_it(string project)
    {
        Assert.True(Allowed.ContainsKey(project), $"{project} has no place in the architecture; give it one in this table and in CONTRIBUTING.md");
        var references = Items(project, "ProjectReference").Select(reference => Path.GetFileNameWithoutExtension(reference.Replace('\\', '/')));
        Assert.Empty(references.Except(Allowed[project]));
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void Only_the_proxies_and_the_web_integration_need_the_web_framework(string project)
    {
        if (!WebProjects.Contains(project))
        {
            Assert.DoesNotContain("Microsoft.AspNetCore.App", Items(project, "FrameworkReference"));
        }
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_has_a_readme_that_its_package_shows(string project) =>
        Assert.True(File.ReadAllText(Repository.PathOf("src", project, "README.md")).Length > 200, $"src/{project}/README.md says next to nothing");

    private static IEnumerable<string> Items(string project, string kind) =>
        XDocument.Load(Repository.PathOf("src", project, $"{project}.csproj")).Descendants(kind).Select(item => (string)item.Attribute("Include")!);
}
