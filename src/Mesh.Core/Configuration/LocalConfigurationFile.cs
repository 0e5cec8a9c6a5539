using System.Security.Cryptography;
using Mesh.Core.Workloads;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Core.Configuration;

/// <summary>Keeps a <see cref="MeshState"/> like a local YAML file: read at start, and again whenever it is edited.</summary>
/// <remarks>An edit with faults changes nothing: the last good state stays, and the faults are logged and kept in <see cref="LastError"/>.</remarks>
public sealed class LocalConfigurationFile : IAsyncDisposable
{
    // Editors and symlink swaps that raise no event are found by looking.
    private static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(1);

    // A file that is being written may be valid YAML that lacks its end, the policies for one. It is read when it has stopped changing.
    // Who writes slower than this should write beside it and rename.
    private static readonly TimeSpan SettleInterval = TimeSpan.FromMilliseconds(200);

    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _edited = new(0);
    private readonly string _path;
    private readonly MeshState _state;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly FileSystemWatcher? _watcher;
    private readonly Task _watching;
    private byte[] _seen;
    private LocalConfiguration _applied;
    private (long Length, DateTime LastWrite)? _stamp;
    private string? _seenError;
    private string? _lastError;

    private LocalConfigurationFile(string path, LocalConfiguration applied, byte[] seen, (long Length, DateTime LastWrite)? stamp, MeshState state, TimeProvider time, ILogger logger)
    {
        _path = path;
        _seen = seen;
        _applied = applied;
        _stamp = stamp;
        _state = state;
        _time = time;
        _logger = logger;
        _watcher = Watch();
        _watching = Task.Run(WatchAsync);
    }

    /// <summary>Why the newest content of the file was not applied; null when it was.</summary>
    public string? LastError => Volatile.Read(ref _lastError);

    /// <summary>Reads the file into the state and begins to watch it.</summary>
    /// <exception cref="ConfigurationException">The file has faults.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static LocalConfigurationFile Open(string path, MeshState state, TimeProvider? time = null, ILogger<LocalConfigurationFile>? logger = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(state);
        var stamp = Stamp(path);
        var content = File.ReadAllBytes(path);
        var applied = LocalConfiguration.Parse(Text(content), path);
        applied.ApplyTo(state);
        return new LocalConfigurationFile(path, applied, SHA256.HashData(content), stamp, state, time ?? TimeProvider.System, logger ?? NullLogger<LocalConfigurationFile>.Instance);
    }

    /// <summary>Ends watching. The state stays as it is.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync();
        _watcher?.Dispose();
        await _watching;

        // The semaphore stays: the watcher may still be about to release it, and it holds nothing.
        _stop.Dispose();
    }

    private FileSystemWatcher? Watch()
    {
        try
        {
            var watcher = new FileSystemWatcher(Path.GetDirectoryName(Path.GetFullPath(_path))!);
            watcher.Changed += (_, _) => _edited.Release();
            watcher.Created += (_, _) => _edited.Release();
            watcher.Deleted += (_, _) => _edited.Release();
            watcher.Renamed += (_, _) => _edited.Release();
            watcher.EnableRaisingEvents = true;
            return watcher;
        }
        catch (IOException e)
        {
            // No inotify instance left, for one. The poll finds edits too, a second later.
            _logger.WatchUnavailable(_path, e);
            return null;
        }
    }

    private async Task WatchAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            using var poll = new CancellationTokenSource(PollInterval, _time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(poll.Token, _stop.Token);
            try
            {
                await _edited.WaitAsync(either.Token);
            }
            catch (OperationCanceledException) when (!_stop.IsCancellationRequested)
            {
                if (Stamp(_path) == _stamp)
                {
                    continue;
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }

            if (await SettleAsync())
            {
                Reload();
            }
        }
    }

    private async Task<bool> SettleAsync()
    {
        try
        {
            var before = Stamp(_path);
            await Task.Delay(SettleInterval, _time, _stop.Token);
            while (Stamp(_path) is var now && now != before)
            {
                before = now;
                await Task.Delay(SettleInterval, _time, _stop.Token);
            }

            // What was said until now is about to be read.
            while (_edited.Wait(0, CancellationToken.None))
            {
            }

            _stamp = before;
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>Length and time of the last write, of the file that the path leads to; nothing when there is none.</summary>
    private static (long Length, DateTime LastWrite)? Stamp(string path)
    {
        try
        {
            using var handle = File.OpenHandle(path);
            return (RandomAccess.GetLength(handle), File.GetLastWriteTimeUtc(handle));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private void Reload()
    {
        try
        {
            var content = File.ReadAllBytes(_path);
            var hash = SHA256.HashData(content);
            if (hash.AsSpan().SequenceEqual(_seen))
            {
                // Gone for a while, and back as it was.
                Volatile.Write(ref _lastError, _seenError);
                return;
            }

            _seen = hash;
            _seenError = null;
            var configuration = LocalConfiguration.Parse(Text(content), _path);
            try
            {
                configuration.ApplyTo(_state, _applied);
            }
            finally
            {
                // Published in any case: who heard of it may have failed, nothing else can.
                _applied = configuration;
            }

            Volatile.Write(ref _lastError, null);
            _logger.ConfigurationApplied(_path, configuration.Workloads.Length, configuration.Services.Length, configuration.Policies.Length);
        }
        catch (ConfigurationException e)
        {
            _seenError = e.Message;
            Volatile.Write(ref _lastError, e.Message);
            foreach (var diagnostic in e.Diagnostics)
            {
                _logger.ConfigurationRejected(diagnostic);
            }
        }
        catch (Exception e)
        {
            // It cannot be read, or who heard of the change failed. Whatever it is, the watch goes on, and looks again.
            _stamp = null;
            if (Interlocked.Exchange(ref _lastError, e.Message) != e.Message)
            {
                _logger.ConfigurationUnreadable(_path, e.Message);
            }
        }
    }

    private static string Text(byte[] content)
    {
        using var reader = new StreamReader(new MemoryStream(content));
        return reader.ReadToEnd();
    }
}
