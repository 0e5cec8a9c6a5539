using System.CommandLine;
using System.Text;

namespace Mesh.Cli;

/// <summary>A command cannot do what it was asked to; the message is all that the user is told.</summary>
internal sealed class ToolException(string message, Exception? innerException = null) : Exception(message, innerException);

/// <summary>What the commands have in common.</summary>
internal static class Tool
{
    /// <summary>A command that ends with 0, or with 1 and a sentence on the error output.</summary>
    public static Command Of(string name, string description, IEnumerable<Symbol> symbols, Func<ParseResult, CancellationToken, Task> run)
    {
        var command = new Command(name, description);
        foreach (var symbol in symbols)
        {
            if (symbol is Option option)
            {
                command.Add(option);
            }
            else
            {
                command.Add((Argument)symbol);
            }
        }

        command.SetAction(async (parsed, cancellationToken) =>
        {
            try
            {
                await run(parsed, cancellationToken);
                return 0;
            }
            catch (ToolException e)
            {
                await parsed.InvocationConfiguration.Error.WriteLineAsync(Printable(e.Message));
                return 1;
            }
        });
        return command;
    }

    /// <summary>Reads a file that is not longer than it may be.</summary>
    /// <exception cref="ToolException">It cannot be read.</exception>
    public static async Task<byte[]> ReadAsync(string path, int maxLength, CancellationToken cancellationToken)
    {
        try
        {
            await using var file = File.OpenRead(path);
            return await ReadAsync(file, maxLength, path, cancellationToken);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new ToolException($"{path} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads a stream to its end, if that comes soon enough.</summary>
    /// <exception cref="ToolException">It is longer than it may be.</exception>
    public static async Task<byte[]> ReadAsync(Stream stream, int maxLength, string what, CancellationToken cancellationToken)
    {
        // Pipes and devices do not say how long they are.
        var all = new MemoryStream();
        var buffer = new byte[64 * 1024];
        for (int count; (count = await stream.ReadAsync(buffer, cancellationToken)) > 0;)
        {
            if (all.Length + count > maxLength)
            {
                throw new ToolException($"{what} has more than {maxLength} octets, which is the limit");
            }

            all.Write(buffer, 0, count);
        }

        return all.ToArray();
    }

    /// <summary>Splits <c>host:port</c>; IPv6 addresses stand in brackets.</summary>
    /// <exception cref="ToolException">It is something else.</exception>
    public static (string Host, int Port) HostAndPort(string option, string text)
    {
        var colon = text.LastIndexOf(':');
        var host = colon > 0 ? text[..colon] : "";
        host = host is ['[', .., ']'] ? host[1..^1] : host.Contains(':', StringComparison.Ordinal) ? "" : host;
        return host.Length > 0 && Uri.CheckHostName(host) is not UriHostNameType.Unknown
            && ushort.TryParse(text.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out var port) && port > 0
            ? (host, port)
            : throw new ToolException($"{option} is '{text}'; allowed is host:port, with an IPv6 address in brackets");
    }

    /// <summary>A text of others, without what a terminal might obey.</summary>
    public static string Printable(string text)
    {
        const int MaxLength = 4096;
        var printable = new StringBuilder(Math.Min(text.Length, MaxLength));
        foreach (var rune in text.EnumerateRunes())
        {
            if (printable.Length >= MaxLength)
            {
                return printable.Append('…').ToString();
            }

            // Format characters can turn a line round.
            printable.Append(Rune.IsControl(rune) || Rune.GetUnicodeCategory(rune) is System.Globalization.UnicodeCategory.Format or System.Globalization.UnicodeCategory.LineSeparator or System.Globalization.UnicodeCategory.ParagraphSeparator
                ? "?"
                : rune.ToString());
        }

        return printable.ToString();
    }
}
