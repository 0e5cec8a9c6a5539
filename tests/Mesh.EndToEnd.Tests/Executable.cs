using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>The executables of this repository, as they were built with the tests.</summary>
internal static class Executable
{
    /// <summary>release or debug: artifacts/bin/PROJECT/CONFIGURATION/.</summary>
    public static readonly string Configuration = Path.GetFileName(AppContext.BaseDirectory.TrimEnd('/'));

    public static string PathOf(string project) => Repository.PathOf("artifacts", "bin", project, Configuration, $"{project}.dll");
}
