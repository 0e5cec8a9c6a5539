using Xunit;

namespace Mesh.Testing;

/// <summary>A test with a peer of somebody else. It is skipped where the program is missing, but not in continuous integration, where a missing one is a fault.</summary>
/// <param name="program">The program's name, looked for in PATH, or its path.</param>
/// <param name="package">The Debian package that holds it.</param>
/// <param name="files">Further files or directories that it needs.</param>
public sealed class RequiresProgramAttribute(string program, string package, params string[] files) : FactAttribute
{
    public string Program { get; } = program;

    public override string? Skip { get; set; } = Programs.WhySkip(program, package, files);
}

/// <summary>A table of such tests.</summary>
/// <param name="program">The program's name, looked for in PATH, or its path.</param>
/// <param name="package">The Debian package that holds it.</param>
/// <param name="files">Further files or directories that it needs.</param>
public sealed class RequiresProgramTheoryAttribute(string program, string package, params string[] files) : TheoryAttribute
{
    public string Program { get; } = program;

    public override string? Skip { get; set; } = Programs.WhySkip(program, package, files);
}

/// <summary>Which programs this machine has.</summary>
public static class Programs
{
    public static string? WhySkip(string program, string package, IEnumerable<string> files)
    {
        var there = IsThere(program) && files.All(file => File.Exists(file) || Directory.Exists(file));
        return there || Environment.GetEnvironmentVariable("CI") == "true" ? null : $"needs program {program} (Debian package {package})";
    }

    private static bool IsThere(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "")
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
        .Any(directory => File.Exists(Path.Combine(directory, program)));
}
