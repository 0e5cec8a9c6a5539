using System.Diagnostics;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>The packages, as somebody gets them who has nothing of this repository: packed, put into a folder, added to a new project, run.</summary>
[Collection(SampleTests.Addresses)]
public sealed class PackageTests : IDisposable
{
    // Longer than the bound of other tests: the SDK packs, restores and builds.
    private static readonly TimeSpan Bound = TimeSpan.FromMinutes(4);

    // A version of its own, so that no cache has an older one.
    private static readonly string Version = $"0.1.0-test.{Environment.ProcessId}.{Stopwatch.GetTimestamp()}";
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-packages-");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public async Task A_new_console_project_and_a_new_web_project_speak_hbone()
    {
        var feed = _directory.CreateSubdirectory("feed").FullName;
        foreach (var package in new[] { "Mesh.Core", "Mesh.Hbone", "Mesh.Xds", "Mesh.AspNetCore", "Mesh.Ztunnel" })
        {
            await DotnetAsync(Repository.PathOf("src", package), "pack", "-c", Executable.Configuration, "--no-build", "-o", feed, $"-p:PackageVersion={Version}");
        }

        var console = await NewAsync("console", "Console", "Embedding", "Mesh.Hbone");
        Assert.Contains("reads: hello from the cart", await DotnetAsync(console, "run", "--no-restore"), StringComparison.Ordinal);

        var web = await NewAsync("web", "Web", "AspNetCoreApps", "Mesh.AspNetCore", "Mesh.Ztunnel");
        File.Copy(Repository.PathOf("samples", "AspNetCoreApps", "mesh.yaml"), Path.Combine(web, "mesh.yaml"));
        await DotnetAsync(web, "build", "--no-restore");
        File.Copy(Path.Combine(web, "mesh.yaml"), Path.Combine(web, "bin", "Debug", "net10.0", "mesh.yaml"), overwrite: true);
        Assert.Contains("web, without a proxy:   three apples for spiffe://cluster.local/ns/shop/sa/web", await DotnetAsync(web, "run", "--no-build"), StringComparison.Ordinal);
    }

    private async Task<string> NewAsync(string template, string name, string sample, params string[] packages)
    {
        var project = Path.Combine(_directory.FullName, name);
        await DotnetAsync(_directory.FullName, "new", template, "-o", project, "--no-restore");
        await File.WriteAllTextAsync(
            Path.Combine(project, "nuget.config"),
            """
            <configuration>
              <config><add key="globalPackagesFolder" value="../packages" /></config>
              <packageSources><add key="feed" value="../feed" /></packageSources>
            </configuration>
            """);
        foreach (var package in packages)
        {
            await DotnetAsync(project, "add", "package", package, "--version", Version);
        }

        File.Copy(Repository.PathOf("samples", sample, "Program.cs"), Path.Combine(project, "Program.cs"), overwrite: true);
        return project;
    }

    private static async Task<string> DotnetAsync(string directory, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", arguments) { WorkingDirectory = directory, UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };

        // What the build of this repository sets is not for a stranger's project.
        foreach (var variable in start.Environment.Keys.Where(key => key.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase) || key is "CI").ToArray())
        {
            start.Environment.Remove(variable);
        }

        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["DOTNET_CLI_USE_MSBUILD_SERVER"] = "0";
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        using var bound = new CancellationTokenSource(Bound);
        try
        {
            await process.WaitForExitAsync(bound.Token);
        }
        catch (OperationCanceledException e)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"dotnet {string.Join(' ', arguments)} took longer than {Bound}", e);
        }

        var said = await output + await errors;
        Assert.True(process.ExitCode == 0, $"dotnet {string.Join(' ', arguments)} ended with {process.ExitCode}\n{said}");
        return said;
    }
}
