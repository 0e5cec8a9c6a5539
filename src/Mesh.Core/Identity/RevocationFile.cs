using System.Security.Cryptography;
using Microsoft.Extensions.Logging;

namespace Mesh.Core.Identity;

/// <summary>Keeps the revocation lists of a <see cref="TrustBundle"/> as a file has them (ztunnel §3.5). A file that turns unreadable leaves them as they were.</summary>
public sealed class RevocationFile : IAsyncDisposable
{
    // Short enough that revoking takes effect at once to a person; reading a small file this often costs nothing.
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);

    private readonly CancellationTokenSource _stop = new();
    private readonly string _path;
    private readonly TrustBundle _trust;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Task _watching;
    private byte[] _applied = [];
    private byte[]? _settling;
    private string? _lastError;
    private int _disposed;

    /// <summary>Reads the file, and goes on looking at it. One that is not there yet is waited for.</summary>
    /// <param name="path">The file: PEM or DER.</param>
    /// <param name="trust">What is to have the lists.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it speaks.</param>
    public RevocationFile(string path, TrustBundle trust, TimeProvider time, ILogger logger)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(trust);
        ArgumentNullException.ThrowIfNull(time);
        _path = path;
        _trust = trust;
        _time = time;
        _logger = logger;
        Read(isFirst: true);
        _watching = Task.Run(WatchAsync);
    }

    /// <summary>Looks no more; the lists stay.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 1)
        {
            return;
        }

        await _stop.CancelAsync();
        await _watching;
        _stop.Dispose();
    }

    private async Task WatchAsync()
    {
        using var timer = new PeriodicTimer(Interval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
            {
                Read(isFirst: false);
            }
        }
        catch (OperationCanceledException)
        {
            // Told to stop.
        }
    }

    // What is read twice alike is not being written any more.
    private void Read(bool isFirst)
    {
        try
        {
            var content = File.ReadAllBytes(_path);
            var hash = SHA256.HashData(content);
            if (hash.AsSpan().SequenceEqual(_applied) || !(isFirst || hash.AsSpan().SequenceEqual(_settling)))
            {
                _settling = hash;
                return;
            }

            var lists = RevocationLists.Parse(content);
            _trust.ReplaceRevocationLists(lists);
            _applied = hash;
            _lastError = null;
            _logger.RevocationListsRead(_path, lists.Count, lists.RevokedCount);
        }
        catch (Exception e)
        {
            // Whatever it is, the watch goes on; what is said once need not be said every two seconds.
            if (_lastError != e.Message)
            {
                _lastError = e.Message;
                _logger.RevocationListsUnreadable(_path, e.Message);
            }
        }
    }
}
