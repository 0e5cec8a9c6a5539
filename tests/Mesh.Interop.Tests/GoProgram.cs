using System.Diagnostics;

namespace Mesh.Interop;

/// <summary>The Go peer, compiled once, without the network: Debian's packages hold the library's source.</summary>
internal static class GoProgram
{
    // Compiling the library for the first time takes longer than a test may wait.
    private static readonly TimeSpan Bound = TimeSpan.FromMinutes(5);
    private static readonly Task<string> Built = BuildAsync();

    /// <summary>The path of the program.</summary>
    public static Task<string> BuiltAsync() => Built;

    private static async Task<string> BuildAsync()
    {
        var program = Path.Combine(AppContext.BaseDirectory, "go-peer");
        var start = new ProcessStartInfo("go", ["build", "-o", program, PeerFiles.Script("h2_peer.go")]) { UseShellExecute = false, RedirectStandardError = true };
        start.Environment["GOPATH"] = "/usr/share/gocode";
        start.Environment["GO111MODULE"] = "off";
        start.Environment["GOFLAGS"] = "";
        start.Environment["GOCACHE"] = Path.Combine(AppContext.BaseDirectory, "go-cache");
        start.Environment["CGO_ENABLED"] = "0";
        using var compiler = Process.Start(start)!;
        var errors = await compiler.StandardError.ReadToEndAsync().WaitAsync(Bound);
        await compiler.WaitForExitAsync().WaitAsync(Bound);
        Assert.True(compiler.ExitCode == 0, errors);
        return program;
    }
}
