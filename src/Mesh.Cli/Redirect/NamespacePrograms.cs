using System.Diagnostics;

namespace Mesh.Cli.Redirect;

/// <summary>Runs programs in a network namespace.</summary>
/// <param name="path">The namespace's file; null for our own.</param>
internal sealed class NamespacePrograms(string? path)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <summary>The file of a namespace, by its name, its path or the number of a process in it.</summary>
    /// <exception cref="RedirectionException">There is no such namespace.</exception>
    public static string? PathOf(string? name)
    {
        if (name is null)
        {
            return null;
        }

        var path = name.Contains('/', StringComparison.Ordinal) ? name : name.All(char.IsAsciiDigit) ? $"/proc/{name}/ns/net" : $"/run/netns/{name}";
        return File.Exists(path)
            ? path
            : throw new RedirectionException($"--netns is '{name}'; allowed: a name that 'ip netns' shows, a path such as /proc/123/ns/net, or the number of a process ({path} does not exist)");
    }

    /// <summary>Runs a program to its end.</summary>
    /// <returns>What it said of its failure; null when it ended well.</returns>
    /// <exception cref="RedirectionException">The program is not there, or does not end.</exception>
    public async Task<string?> TryRunAsync(string program, IEnumerable<string> arguments, string? input = null)
    {
        string[] all = path is null ? [program, .. arguments] : ["nsenter", $"--net={path}", "--", program, .. arguments];
        var start = new ProcessStartInfo(all[0], all[1..]) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardInput = true, RedirectStandardOutput = true };
        using var timeout = new CancellationTokenSource(Limit);
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new RedirectionException($"cannot run {all[0]}: {e.Message}; it is needed, with iptables, ip and nsenter (Debian: iptables, iproute2, util-linux)", e);
        }

        using (process)
        {
            try
            {
                var output = process.StandardOutput.ReadToEndAsync(timeout.Token);
                var error = process.StandardError.ReadToEndAsync(timeout.Token);
                await WriteAsync(process, input, timeout.Token);
                await output;
                await process.WaitForExitAsync(timeout.Token);
                return process.ExitCode == 0 ? null : $"{string.Join(' ', all)} ended with {process.ExitCode}: {(await error).Trim()}";
            }
            catch (OperationCanceledException e)
            {
                process.Kill(entireProcessTree: true);
                throw new RedirectionException($"{string.Join(' ', all)} did not end within {Limit}", e);
            }
        }
    }

    private static async Task WriteAsync(Process process, string? input, CancellationToken cancellationToken)
    {
        try
        {
            await process.StandardInput.WriteAsync(input.AsMemory(), cancellationToken);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It has ended before it read all; why, its exit says.
        }
    }

    /// <summary>Runs a program that must end well.</summary>
    /// <exception cref="RedirectionException">It did not.</exception>
    public async Task RunAsync(string program, IEnumerable<string> arguments, string? input = null)
    {
        if (await TryRunAsync(program, arguments, input) is { } error)
        {
            throw new RedirectionException(error);
        }
    }
}

/// <summary>Redirection could not be set up or taken down; the message says why, for people.</summary>
internal sealed class RedirectionException(string message, Exception? innerException = null) : Exception(message, innerException);
