using System.Globalization;

namespace Mesh.Testing;

/// <summary>How long fuzzing goes on. In a run of the tests it is short and the same each time; see CONTRIBUTING.md for a longer one.</summary>
public static class Fuzz
{
    private static readonly int Factor = Read("MESH_FUZZ_FACTOR", 1);
    private static readonly int Shift = Read("MESH_FUZZ_SEED", 0);

    /// <summary>Rounds of a loop, times MESH_FUZZ_FACTOR.</summary>
    public static int Rounds(int rounds) => rounds * Factor;

    /// <summary>A seed, moved by MESH_FUZZ_SEED.</summary>
    public static int Seed(int seed) => seed + Shift;

    private static int Read(string name, int standard) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } text ? int.Parse(text, CultureInfo.InvariantCulture) : standard;
}
