using System.Diagnostics;
using System.Globalization;
using System.Net;

namespace Mesh.Load.Peers;

/// <summary>A way from the load to the application.</summary>
internal abstract class LoadPeer : IAsyncDisposable
{
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(20);

    // USER_HZ, which is 100 on every Linux.
    private const double TicksPerSecond = 100;

    private readonly List<Process> _processes = [];

    public abstract string Name { get; }

    /// <summary>Where cold TLS handshakes go; null when there are none.</summary>
    public virtual IPEndPoint? TlsEndPoint => null;

    /// <summary>Whether what answers a TLS handshake speaks first (HTTP/2 settings), or echoes.</summary>
    public virtual bool SpeaksFirst => false;

    /// <summary>How many tunnels it can carry: a process may have 20,000 files.</summary>
    public virtual int MaxConnections => int.MaxValue;

    public abstract Task<Stream> ConnectAsync();

    /// <summary>Processor time that its processes have used, in seconds.</summary>
    public double ProcessorSeconds() => Family().Sum(pid => ReadStat(pid) is { } stat ? (stat.User + stat.System) / TicksPerSecond : 0);

    /// <summary>Resident memory of its processes that they do not share with files, in KiB.</summary>
    public long ResidentKiB() => Family().Sum(ReadResidentKiB);

    public virtual async ValueTask DisposeAsync()
    {
        foreach (var process in _processes)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
            process.Dispose();
        }
    }

    protected void Start(ProcessStartInfo start)
    {
        start.UseShellExecute = false;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        var process = Process.Start(start)!;
        process.OutputDataReceived += Show;
        process.ErrorDataReceived += Show;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        _processes.Add(process);
    }

    protected static async Task WaitUntilAsync(Func<Task<bool>> condition, string what)
    {
        var clock = Stopwatch.StartNew();
        while (!await condition())
        {
            if (clock.Elapsed > StartTimeout)
            {
                throw new TimeoutException($"{what} is not ready within {StartTimeout}");
            }

            await Task.Delay(50);
        }
    }

    private static void Show(object sender, DataReceivedEventArgs line)
    {
        if (!string.IsNullOrEmpty(line.Data))
        {
            Console.Error.WriteLine(line.Data);
        }
    }

    private HashSet<int> Family()
    {
        var family = _processes.Select(process => process.Id).ToHashSet();
        if (family.Count > 0)
        {
            foreach (var directory in Directory.EnumerateDirectories("/proc"))
            {
                if (int.TryParse(Path.GetFileName(directory), out var pid) && ReadStat(pid) is { } stat && family.Contains(stat.Parent))
                {
                    family.Add(pid);
                }
            }
        }

        return family;
    }

    private static (int Parent, long User, long System)? ReadStat(int pid)
    {
        try
        {
            // The name of the program is in parentheses and may hold blanks.
            var text = File.ReadAllText($"/proc/{pid}/stat");
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return (int.Parse(fields[1], CultureInfo.InvariantCulture), long.Parse(fields[11], CultureInfo.InvariantCulture), long.Parse(fields[12], CultureInfo.InvariantCulture));
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static long ReadResidentKiB(int pid)
    {
        var line = File.ReadLines($"/proc/{pid}/status").First(line => line.StartsWith("RssAnon:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}

/// <summary>No proxy at all: what the load generator itself can do.</summary>
internal sealed class Direct : LoadPeer
{
    public override string Name => "direct";

    public override async Task<Stream> ConnectAsync() => await Sockets.ConnectAsync(Application.EndPoint);
}
