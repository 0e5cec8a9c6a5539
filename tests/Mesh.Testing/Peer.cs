using System.Diagnostics;
using Xunit.Sdk;

namespace Mesh.Testing;

/// <summary>An external program that a test talks to. It tells what it sees in lines; disposing it ends it, whatever it is doing.</summary>
public sealed class Peer : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly List<string> _lines = [];
    private readonly Process _process;
    private readonly Task _reading;
    private TaskCompletionSource _news = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _ended;

    private Peer(Process process)
    {
        _process = process;
        _reading = Task.WhenAll(ReadAsync(process.StandardOutput), ReadAsync(process.StandardError)).ContinueWith(_ => End(), TaskScheduler.Default);
    }

    /// <summary>What it has said, on both of its outputs.</summary>
    public string Output
    {
        get
        {
            lock (_gate)
            {
                return string.Join(Environment.NewLine, _lines);
            }
        }
    }

    public static Peer Start(string program, params IEnumerable<string> arguments) => Start(new Dictionary<string, string>(), program, arguments);

    /// <summary>Starts a program with further environment variables.</summary>
    public static Peer Start(IReadOnlyDictionary<string, string> environment, string program, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        return new Peer(Process.Start(start)!);
    }

    /// <summary>The number of its process.</summary>
    public int Id => _process.Id;

    /// <summary>Writes it a line.</summary>
    public async Task TellAsync(string line)
    {
        await _process.StandardInput.WriteLineAsync(line);
        await _process.StandardInput.FlushAsync();
    }

    /// <summary>Sends it a signal, by name: TERM, INT.</summary>
    public void Signal(string signal) => Process.Start("kill", [$"-{signal}", _process.Id.ToString()]).WaitForExit();

    /// <summary>Waits for its end, and returns its exit status.</summary>
    public async Task<int> ExitAsync()
    {
        await _process.WaitForExitAsync().InTime();
        await _reading.InTime();
        return _process.ExitCode;
    }

    /// <summary>Waits for a line that contains all of these, and returns it; fails with all that was said when it does not come.</summary>
    public Task<string> LogsAsync(params string[] parts) =>
        FindAsync($"a line with {string.Join(" and ", parts)}", line => parts.All(part => line.Contains(part, StringComparison.Ordinal)));

    /// <summary>Waits for a line that begins with this, and returns what follows; fails with all that was said when it does not come.</summary>
    public async Task<string> SaysAsync(string beginning) =>
        (await FindAsync($"'{beginning}'", line => line.StartsWith(beginning, StringComparison.Ordinal)))[beginning.Length..].Trim();

    private async Task<string> FindAsync(string what, Predicate<string> match)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            Task news;
            bool ended;
            lock (_gate)
            {
                if (_lines.Find(match) is { } found)
                {
                    return found;
                }

                (news, ended) = (_news.Task, _ended);
            }

            var left = Eventually.Bound - clock.Elapsed;
            if (ended || left <= TimeSpan.Zero || await Task.WhenAny(news, Task.Delay(left)) != news)
            {
                throw new XunitException($"the peer did not say {what}{(ended ? " before it ended" : "")}; it said:{Environment.NewLine}{Output}");
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            _process.Kill(entireProcessTree: true);
        }
        catch (InvalidOperationException)
        {
            // It has ended by itself.
        }

        await _process.WaitForExitAsync().InTime();
        await _reading.InTime();
        _process.Dispose();
    }

    private async Task ReadAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            Tell(() => _lines.Add(line));
        }
    }

    private void End() => Tell(() => _ended = true);

    private void Tell(Action news)
    {
        TaskCompletionSource told;
        lock (_gate)
        {
            news();
            told = _news;
            _news = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        told.TrySetResult();
    }
}
