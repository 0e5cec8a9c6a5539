using Mesh.Core.Policy;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Admin;

/// <summary>A connection that was refused, failed or was lost.</summary>
/// <param name="Record">What is known of it.</param>
/// <param name="At">When it ended.</param>
internal sealed record FailedConnection(ConnectionRecord Record, DateTimeOffset At);

/// <summary>How often one talked to another.</summary>
/// <param name="Source">Who.</param>
/// <param name="Destination">To whom.</param>
/// <param name="Allowed">Connections that were let pass.</param>
/// <param name="Denied">Connections that policy denied, at first or after a change.</param>
/// <param name="Failed">Connections that failed of something else.</param>
internal sealed record TrafficCount(string Source, string Destination, long Allowed, long Denied, long Failed);

/// <summary>How often a policy decided.</summary>
/// <param name="Policy">Its key; empty for decisions of no single policy.</param>
/// <param name="Allowed">Connections that it let pass.</param>
/// <param name="Denied">Connections that it denied, at first or after a change.</param>
internal sealed record PolicyCount(string Policy, long Allowed, long Denied);

/// <summary>Remembers of connections what the page for people shows and logs would have to be searched for. Bounded, thread-safe.</summary>
internal sealed class ConnectionHistory : IDisposable
{
    public const int MaxFailed = 300;
    public const int MaxPairs = 2000;
    private const int MaxPolicies = 10_000;

    private static readonly (string, string) Others = ("(others)", "(others)");

    private readonly Lock _gate = new();
    private readonly FailedConnection?[] _failed = new FailedConnection?[MaxFailed];
    private readonly Dictionary<(string Source, string Destination), (long Allowed, long Denied, long Failed)> _pairs = [];
    private readonly Dictionary<string, (long Allowed, long Denied)> _policies = [];
    private readonly AccessLog _log;
    private readonly TimeProvider _time;
    private int _next;

    public ConnectionHistory(AccessLog log, TimeProvider time)
    {
        _log = log;
        _time = time;
        _log.Began += OnBegan;
        _log.Recorded += OnRecorded;
    }

    /// <summary>The last connections that failed, newest first.</summary>
    public IReadOnlyList<FailedConnection> Failed
    {
        get
        {
            lock (_gate)
            {
                return [.. Enumerable.Range(1, MaxFailed).Select(back => _failed[(_next - back + MaxFailed) % MaxFailed]).OfType<FailedConnection>()];
            }
        }
    }

    /// <summary>Who has talked to whom since the start.</summary>
    public IReadOnlyList<TrafficCount> Traffic
    {
        get
        {
            lock (_gate)
            {
                return [.. _pairs.Select(pair => new TrafficCount(pair.Key.Source, pair.Key.Destination, pair.Value.Allowed, pair.Value.Denied, pair.Value.Failed))];
            }
        }
    }

    /// <summary>How often policies have decided since the start.</summary>
    public IReadOnlyList<PolicyCount> Policies
    {
        get
        {
            lock (_gate)
            {
                return [.. _policies.Select(pair => new PolicyCount(pair.Key, pair.Value.Allowed, pair.Value.Denied))];
            }
        }
    }

    public void Dispose()
    {
        _log.Began -= OnBegan;
        _log.Recorded -= OnRecorded;
    }

    private void OnBegan(object? sender, ConnectionRecord record)
    {
        var pair = (ConnectionText.Source(record), ConnectionText.Destination(record));
        lock (_gate)
        {
            CountPair_NeedsLock(pair, allowed: 1);
            CountDecision_NeedsLock(record);
        }
    }

    private void OnRecorded(object? sender, ConnectionRecord record)
    {
        if (record.Outcome is ConnectionOutcome.Complete)
        {
            return;
        }

        var pair = (ConnectionText.Source(record), ConnectionText.Destination(record));
        var isDenied = ConnectionText.Verdict(record) == "denied";
        lock (_gate)
        {
            _failed[_next] = new FailedConnection(record, _time.GetUtcNow());
            _next = (_next + 1) % MaxFailed;
            CountPair_NeedsLock(pair, denied: isDenied ? 1 : 0, failed: isDenied ? 0 : 1);

            // The decision of one that was opened has been counted, unless it is another by now.
            if (!record.WasOpened || record.Decision is L4Decision.Denied)
            {
                CountDecision_NeedsLock(record);
            }
        }
    }

    private void CountPair_NeedsLock((string Source, string Destination) pair, int allowed = 0, int denied = 0, int failed = 0)
    {
        var key = _pairs.Count < MaxPairs || _pairs.ContainsKey(pair) ? pair : Others;
        var counts = _pairs.GetValueOrDefault(key);
        _pairs[key] = (counts.Allowed + allowed, counts.Denied + denied, counts.Failed + failed);
    }

    private void CountDecision_NeedsLock(ConnectionRecord record)
    {
        if (record.Decision is not { } decision)
        {
            return;
        }

        var policy = decision.Policy ?? "";
        if (_policies.Count < MaxPolicies || _policies.ContainsKey(policy))
        {
            var counts = _policies.GetValueOrDefault(policy);
            _policies[policy] = decision is L4Decision.Allowed ? (counts.Allowed + 1, counts.Denied) : (counts.Allowed, counts.Denied + 1);
        }
    }
}
