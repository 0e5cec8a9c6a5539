using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Core.Identity;

/// <summary>How urgent a certificate is. The authority is asked for the most urgent first (ztunnel §3.6).</summary>
public enum CertificatePriority
{
    /// <summary>Renewal ahead of time.</summary>
    Background = 0,

    /// <summary>A workload has appeared and will need it.</summary>
    Warmup = 1,

    /// <summary>A connection waits for it.</summary>
    RealTime = 2,
}

/// <summary>Settings of <see cref="WorkloadCertificates"/>.</summary>
public sealed class WorkloadCertificatesOptions
{
    /// <summary>How many requests to the authority may run at once. At least 1; default 8.</summary>
    public int MaxConcurrentRequests { get; set; } = 8;

    /// <summary>How long one request may take. Default one minute.</summary>
    public TimeSpan RequestTimeout { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>The wait after a first failure; it doubles with each further one. Default one second.</summary>
    public TimeSpan InitialBackoff { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait after a failure. Default 150 seconds.</summary>
    public TimeSpan MaxBackoff { get; set; } = TimeSpan.FromSeconds(150);

    /// <summary>The share by which a wait is made longer or shorter at random. 0 to 1; default 0.2.</summary>
    public double BackoffJitter { get; set; } = 0.2;
}

/// <summary>What is known of one identity's certificate.</summary>
/// <param name="Identity">Whose certificate.</param>
/// <param name="Certificate">The one in use; null when there is none yet, or the last one has expired.</param>
/// <param name="Error">Why the last request failed; null when it did not.</param>
/// <param name="NextRequestAt">When the authority is asked next.</param>
public sealed record WorkloadCertificateStatus(SpiffeId Identity, WorkloadCertificate? Certificate, string? Error, DateTimeOffset NextRequestAt);

/// <summary>Keeps the certificates of the workloads that run here: fetched once however many ask, renewed at half of their lifetime.</summary>
/// <remarks>
/// <list type="number">
/// <item>One request per identity is on its way at most; all who ask meanwhile share it. Cancelling ends one caller's wait, not the request.</item>
/// <item>A failed renewal leaves the old certificate in use until it expires. Without a valid one, waiters get the error at once, and later callers the same until the next attempt.</item>
/// <item>An authority that answers with the certificate that is in use already has nothing newer: it is asked again after the waits of a failure, and nobody is told.</item>
/// <item>The cache owns what it returns. A replaced certificate is left to the handshakes that hold it.</item>
/// </list>
/// Thread-safe.
/// </remarks>
public sealed class WorkloadCertificates : IAsyncDisposable
{
    // A certificate that is due for renewal the moment it is issued must not become a busy loop.
    private static readonly TimeSpan ShortestRenewal = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly Dictionary<SpiffeId, Entry> _entries = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly ICertificateAuthority _authority;
    private readonly WorkloadCertificatesOptions _options;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly ITimer _timer;
    private readonly HashSet<Task> _requests = [];
    private int _running;
    private bool _disposed;

    /// <summary>Makes an empty cache in front of an authority.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public WorkloadCertificates(
        ICertificateAuthority authority, WorkloadCertificatesOptions? options = null, TimeProvider? time = null, Random? random = null, ILogger<WorkloadCertificates>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(authority);
        options ??= new WorkloadCertificatesOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxConcurrentRequests, 1);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(options.RequestTimeout, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(options.InitialBackoff, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxBackoff, options.InitialBackoff);
        ArgumentOutOfRangeException.ThrowIfNegative(options.BackoffJitter);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.BackoffJitter, 1);
        _authority = authority;
        _options = options;
        _time = time ?? TimeProvider.System;
        _random = random ?? new Random();
        _logger = logger ?? NullLogger<WorkloadCertificates>.Instance;
        _timer = _time.CreateTimer(static state => ((WorkloadCertificates)state!).StartDueRequests(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Raised when a request ended: a new certificate is in use, or the status has an error. Runs on the thread of the request; must not block.</summary>
    public event EventHandler<WorkloadCertificateStatus>? Changed;

    /// <summary>The roots of the authority.</summary>
    public TrustBundle TrustBundle => _authority.TrustBundle;

    /// <summary>A picture of all identities, ordered by name.</summary>
    public IReadOnlyList<WorkloadCertificateStatus> Status
    {
        get
        {
            lock (_gate)
            {
                return [.. _entries.Values.Select(StatusOf).OrderBy(status => status.Identity.ToString(), StringComparer.Ordinal)];
            }
        }
    }

    /// <summary>The certificate of an identity; fetched when there is none.</summary>
    /// <exception cref="CertificateAuthorityException">The authority refused, or could not be reached and the next attempt is not due yet.</exception>
    /// <exception cref="OperationCanceledException">The caller gave up; the request goes on for others.</exception>
    public ValueTask<WorkloadCertificate> GetAsync(SpiffeId identity, CertificatePriority priority = CertificatePriority.RealTime, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(identity);
        Task<WorkloadCertificate> wait;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var now = _time.GetUtcNow();
            if (!_entries.TryGetValue(identity, out var entry))
            {
                entry = new Entry(identity) { Due = now, Priority = priority };
                _entries.Add(identity, entry);
            }

            if (entry.Certificate is { } certificate && certificate.IsValidAt(now))
            {
                return new ValueTask<WorkloadCertificate>(certificate);
            }

            if (entry.Error is { } error && !entry.InFlight && entry.Due > now)
            {
                return ValueTask.FromException<WorkloadCertificate>(new CertificateAuthorityException(error.Message, error));
            }

            if (!entry.InFlight && entry.Due > now)
            {
                // Expired before its renewal came round, as after a suspend of the machine.
                entry.Due = now;
            }

            entry.Priority = priority > entry.Priority ? priority : entry.Priority;
            wait = entry.Waiters.Task;
        }

        StartDueRequests();
        return new ValueTask<WorkloadCertificate>(wait.WaitAsync(cancellationToken));
    }

    /// <summary>The certificate of an identity when a valid one is here; asks nobody.</summary>
    public bool TryGet(SpiffeId identity, [NotNullWhen(true)] out WorkloadCertificate? certificate)
    {
        lock (_gate)
        {
            certificate = _entries.TryGetValue(identity, out var entry) && entry.Certificate?.IsValidAt(_time.GetUtcNow()) is true ? entry.Certificate : null;
            return certificate is not null;
        }
    }

    /// <summary>Drops an identity whose last workload has left. Those who wait for it get an error.</summary>
    public void Forget(SpiffeId identity)
    {
        Entry? entry;
        lock (_gate)
        {
            if (!_entries.Remove(identity, out entry))
            {
                return;
            }
        }

        entry.Fail(new CertificateAuthorityException($"the identity {identity} is no longer needed"));
        _logger.CertificateForgotten(identity);
    }

    /// <summary>Ends renewal and waits; waiters get an error, the keys are released.</summary>
    public async ValueTask DisposeAsync()
    {
        Task[] requests;
        Entry[] entries;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            requests = [.. _requests];
            entries = [.. _entries.Values];
        }

        await _stop.CancelAsync();
        await _timer.DisposeAsync();
        await Task.WhenAll(requests).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var entry in entries)
        {
            entry.Fail(new CertificateAuthorityException("the certificate cache is closed"));
            entry.Certificate?.Dispose();
        }

        _stop.Dispose();
    }

    private void StartDueRequests()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            var now = _time.GetUtcNow();
            while (_running < _options.MaxConcurrentRequests && MostUrgentDue_NeedsLock(now) is { } entry)
            {
                entry.InFlight = true;
                _running++;
                var request = Task.Run(() => RequestAsync(entry), CancellationToken.None);
                _requests.Add(request);
                _ = request.ContinueWith(Forget, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            }

            SetTimer_NeedsLock(now);
        }
    }

    private void Forget(Task request)
    {
        lock (_gate)
        {
            _requests.Remove(request);
        }
    }

    private Entry? MostUrgentDue_NeedsLock(DateTimeOffset now)
    {
        Entry? best = null;
        foreach (var entry in _entries.Values)
        {
            if (!entry.InFlight && entry.Due <= now
                && (best is null || entry.Priority > best.Priority || (entry.Priority == best.Priority && entry.Due < best.Due)))
            {
                best = entry;
            }
        }

        return best;
    }

    private void SetTimer_NeedsLock(DateTimeOffset now)
    {
        DateTimeOffset? next = null;
        foreach (var entry in _entries.Values)
        {
            if (!entry.InFlight && (next is null || entry.Due < next))
            {
                next = entry.Due;
            }
        }

        // What is due already waits for a free request, not for the timer. A timer cannot be set further ahead than 49 days.
        var wait = next is not { } due || due <= now ? Timeout.InfiniteTimeSpan : due - now < TimeSpan.FromDays(1) ? due - now : TimeSpan.FromDays(1);
        _timer.Change(wait, Timeout.InfiniteTimeSpan);
    }

    private async Task RequestAsync(Entry entry)
    {
        WorkloadCertificate? issued = null;
        Exception? error = null;
        using var deadline = new CancellationTokenSource(_options.RequestTimeout, _time);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, deadline.Token);
        try
        {
            issued = await IssueAsync(entry.Identity, stop.Token);
            var now = _time.GetUtcNow();
            if (issued.Identity != entry.Identity || !issued.IsValidAt(now))
            {
                error = new CertificateAuthorityException(
                    $"the authority answered a request for {entry.Identity} with a certificate of {issued.Identity}, valid {issued.NotBefore:u} to {issued.NotAfter:u}; it is {now:u}");
                issued.Dispose();
                issued = null;
            }
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested)
        {
            error = new CertificateAuthorityException($"the authority did not answer a request for {entry.Identity} within {_options.RequestTimeout}");
        }
        catch (Exception e)
        {
            // Whatever the authority throws is its failure, not ours: it is kept, shown and retried.
            error = e;
        }

        Complete(entry, issued, error);
    }

    // An authority that does not heed the token may still answer when nobody waits any more: then the key goes at once.
    private async Task<WorkloadCertificate> IssueAsync(SpiffeId identity, CancellationToken stop)
    {
        var issuing = _authority.IssueAsync(identity, stop);
        try
        {
            return await issuing.WaitAsync(stop);
        }
        catch (OperationCanceledException)
        {
            _ = issuing.ContinueWith(
                static late =>
                {
                    if (late.IsCompletedSuccessfully)
                    {
                        late.Result.Dispose();
                    }
                },
                CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
            throw;
        }
    }

    private void Complete(Entry entry, WorkloadCertificate? issued, Exception? error)
    {
        TaskCompletionSource<WorkloadCertificate>? waiters = null;
        WorkloadCertificateStatus? status = null;
        lock (_gate)
        {
            _running--;
            if (!_disposed && _entries.TryGetValue(entry.Identity, out var current) && current == entry)
            {
                waiters = Complete_NeedsLock(entry, issued, error);
                status = StatusOf(entry);
            }
        }

        // First what is next, then the news of it: who hears the news may count on the rest.
        StartDueRequests();
        if (status is null)
        {
            // Forgotten meanwhile; its waiters know.
            issued?.Dispose();
            return;
        }

        if (issued is not null && status.Certificate is { } used && used != issued)
        {
            // Nothing has changed for anybody.
            issued.Dispose();
            waiters?.SetResult(used);
            _logger.CertificateUnchanged(entry.Identity, used.NotAfter, status.NextRequestAt);
            return;
        }

        if (issued is not null && status.Certificate is not null)
        {
            waiters?.SetResult(issued);
            _logger.CertificateIssued(entry.Identity, issued.NotAfter, status.NextRequestAt);
        }
        else
        {
            issued?.Dispose();
            error ??= new CertificateAuthorityException($"the authority has no newer certificate of {entry.Identity} than one that has expired");
            waiters?.SetException(error as CertificateAuthorityException ?? new CertificateAuthorityException($"no certificate for {entry.Identity}: {error.Message}", error));
            _logger.CertificateFailed(entry.Identity, status.NextRequestAt, status.Certificate is not null, error);
        }

        Changed?.Invoke(this, status);
    }

    // Answers who is to be told; nobody when the old certificate goes on serving.
    private TaskCompletionSource<WorkloadCertificate>? Complete_NeedsLock(Entry entry, WorkloadCertificate? issued, Exception? error)
    {
        var now = _time.GetUtcNow();
        entry.InFlight = false;
        entry.Error = error;
        entry.Priority = CertificatePriority.Background;
        if (issued is not null && !IsTheSame(entry.Certificate, issued))
        {
            entry.Failures = 0;
            entry.Certificate = issued;
            entry.Due = Later(RenewalOf(issued, now), now + ShortestRenewal);
            return entry.TakeWaiters();
        }

        var retry = now + NextBackoff_NeedsLock(entry.Failures++);
        if (entry.Certificate is { } old && old.IsValidAt(now))
        {
            entry.Due = old.NotAfter < retry ? Later(old.NotAfter, now + ShortestRenewal) : retry;
            return issued is null ? null : entry.TakeWaiters();
        }

        entry.Due = retry;
        entry.Certificate = null;
        return entry.TakeWaiters();
    }

    // An authority that issues by its own schedule, as a SPIRE agent does, may have nothing newer yet. Then it is asked again as after a failure.
    private static bool IsTheSame(WorkloadCertificate? used, WorkloadCertificate issued) =>
        used is not null && used.Leaf.RawDataMemory.Span.SequenceEqual(issued.Leaf.RawDataMemory.Span);

    // An authority that dates certificates back, for clocks that differ, would have short ones renewed without end.
    private static DateTimeOffset RenewalOf(WorkloadCertificate issued, DateTimeOffset now) => issued.RefreshAt > now ? issued.RefreshAt : now + ((issued.NotAfter - now) / 2);

    private TimeSpan NextBackoff_NeedsLock(int failures)
    {
        var plain = Math.Min(_options.InitialBackoff.TotalSeconds * Math.Pow(2, Math.Min(failures, 30)), _options.MaxBackoff.TotalSeconds);
        var jittered = plain * (1 + (_options.BackoffJitter * ((2 * _random.NextDouble()) - 1)));
        return TimeSpan.FromSeconds(Math.Min(jittered, _options.MaxBackoff.TotalSeconds));
    }

    private WorkloadCertificateStatus StatusOf(Entry entry) => new(entry.Identity, entry.Certificate, entry.Error?.Message, entry.Due);

    private static DateTimeOffset Later(DateTimeOffset left, DateTimeOffset right) => left > right ? left : right;

    private sealed class Entry(SpiffeId identity)
    {
        public SpiffeId Identity { get; } = identity;

        public TaskCompletionSource<WorkloadCertificate> Waiters { get; private set; } = NewWaiters();

        public WorkloadCertificate? Certificate { get; set; }

        public Exception? Error { get; set; }

        public DateTimeOffset Due { get; set; }

        public CertificatePriority Priority { get; set; }

        public int Failures { get; set; }

        public bool InFlight { get; set; }

        public TaskCompletionSource<WorkloadCertificate> TakeWaiters()
        {
            var taken = Waiters;
            Waiters = NewWaiters();
            return taken;
        }

        public void Fail(CertificateAuthorityException error) => Waiters.TrySetException(error);

        private static TaskCompletionSource<WorkloadCertificate> NewWaiters()
        {
            var waiters = new TaskCompletionSource<WorkloadCertificate>(TaskCreationOptions.RunContinuationsAsynchronously);

            // Nobody may be waiting when it fails; that is not an unobserved error.
            _ = waiters.Task.ContinueWith(static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            return waiters;
        }
    }
}
