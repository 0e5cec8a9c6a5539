using System.CommandLine;

namespace Mesh.Cli;

/// <summary>Runs a command as the program does, and keeps what it writes.</summary>
internal static class MeshTool
{
    public static async Task<(int Status, string Output, string Error)> RunAsync(Command command, params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var status = await command.Parse(arguments).InvokeAsync(new InvocationConfiguration { Output = output, Error = error });
        return (status, output.ToString(), error.ToString());
    }
}
