using System.Collections.Immutable;
using Mesh.Xds.Protos;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.Client;

/// <summary>A client's interest in one type of resources: what is held, under which version, and who waits for what.</summary>
/// <typeparam name="T">What a resource is to the program.</typeparam>
/// <remarks>Thread-safe. The server's messages come one at a time.</remarks>
public sealed class XdsSubscription<T> : XdsSubscription
{
    private const string Everything = "*";

    // google.rpc.Code.
    private const int InvalidArgument = 3;

    // What an application can make us ask for has a bound: of names that do not exist the oldest is given up.
    private const int MaxAbsent = 10_000;
    private const int MaxUnanswered = 10_000;
    private const int MaxDetail = 16 * 1024;

    private readonly Lock _gate = new();
    private readonly XdsResourceType<T> _type;
    private readonly IXdsHandler<T> _handler;
    private readonly Action _requestsWaiting;
    private readonly TimeSpan _demandTimeout;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Dictionary<string, string> _versions = [];
    private readonly Dictionary<string, Demand> _demands = [];

    // The names that a resource was asked for by.
    private readonly Dictionary<string, HashSet<string>> _foundBy = [];
    private readonly Queue<string> _absent = [];
    private readonly HashSet<string> _toSubscribe = [];
    private readonly HashSet<string> _toUnsubscribe = [];
    private int _unanswered;
    private bool _isOpen;
    private bool _isWholeNext;
    private bool _isReady;
    private string? _lastRefusal;

    internal XdsSubscription(
        XdsResourceType<T> type, XdsSubscriptionMode mode, IXdsHandler<T> handler, Action requestsWaiting, TimeSpan demandTimeout, TimeProvider time, ILogger logger)
        : base(type.TypeUrl, mode)
    {
        _type = type;
        _handler = handler;
        _requestsWaiting = requestsWaiting;
        _demandTimeout = demandTimeout;
        _time = time;
        _logger = logger;
        _isReady = mode is XdsSubscriptionMode.OnDemand;
    }

    /// <inheritdoc/>
    public override bool IsReady => Volatile.Read(ref _isReady);

    /// <inheritdoc/>
    public override int Count
    {
        get
        {
            lock (_gate)
            {
                return _versions.Count;
            }
        }
    }

    /// <inheritdoc/>
    public override string? LastRefusal => Volatile.Read(ref _lastRefusal);

    /// <summary>Asks for a resource by name, once however many ask, and waits until the handler has it or the server says that there is none.</summary>
    /// <param name="name">Its name, an alias, or one of <see cref="XdsResourceType{T}.NamesOf"/>.</param>
    /// <param name="cancellationToken">Ends this wait; others, and the question, go on.</param>
    /// <exception cref="InvalidOperationException">The subscription is not <see cref="XdsSubscriptionMode.OnDemand"/>.</exception>
    public async ValueTask<XdsDemand> DemandAsync(string name, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (Mode is not XdsSubscriptionMode.OnDemand)
        {
            throw new InvalidOperationException($"the subscription to {TypeUrl} is not on demand");
        }

        Task<bool> answer;
        lock (_gate)
        {
            if (_versions.ContainsKey(name))
            {
                return XdsDemand.Found;
            }

            if (!_demands.TryGetValue(name, out var demand))
            {
                // As many as nobody has answered yet are enough, and are asked again with each stream.
                if (_unanswered >= MaxUnanswered)
                {
                    return XdsDemand.Unanswered;
                }

                demand = new Demand();
                _demands.Add(name, demand);
                _unanswered++;
                _toSubscribe.Add(name);
            }

            answer = demand.Answer.Task;
        }

        if (!answer.IsCompleted)
        {
            _requestsWaiting();
        }

        try
        {
            return await answer.WaitAsync(_demandTimeout, _time, cancellationToken) ? XdsDemand.Found : XdsDemand.Absent;
        }
        catch (TimeoutException)
        {
            return XdsDemand.Unanswered;
        }
    }

    internal override void Restart(bool withVersions)
    {
        lock (_gate)
        {
            _isOpen = false;
            _isWholeNext = !withVersions && Mode is XdsSubscriptionMode.Wildcard;
            _toSubscribe.Clear();
            _toUnsubscribe.Clear();
        }
    }

    internal override DeltaDiscoveryRequest? NextRequest(Node node)
    {
        lock (_gate)
        {
            if (!_isOpen)
            {
                _isOpen = true;
                return Opening_NeedsLock(node);
            }

            if (_toSubscribe.Count + _toUnsubscribe.Count == 0)
            {
                return null;
            }

            // Apart, and in this order: a name that is given up and wanted again is a new question only so.
            var request = new DeltaDiscoveryRequest { TypeUrl = TypeUrl };
            if (_toUnsubscribe.Count > 0)
            {
                request.ResourceNamesUnsubscribe.Add(_toUnsubscribe);
                _toUnsubscribe.Clear();
                return request;
            }

            request.ResourceNamesSubscribe.Add(_toSubscribe);
            _toSubscribe.Clear();
            return request;
        }
    }

    internal override DeltaDiscoveryRequest Answer(DeltaDiscoveryResponse response)
    {
        var faults = new List<(string Name, string Reason)>();
        var changed = Read(response, faults);
        var update = new XdsUpdate<T>(changed, [.. response.RemovedResources.Concat(Gone(response)).Distinct()]);
        try
        {
            _handler.Apply(update);
        }
        catch (Exception e)
        {
            // Whatever a handler throws, the stream goes on: the last good state is worth more than the reason.
            faults.Add((TypeUrl, e.Message));
            update.ReportAll();
            _logger.HandlerFailed(TypeUrl, e);
        }

        faults.AddRange(update.Refused);
        Hold(update);

        var answer = new DeltaDiscoveryRequest { TypeUrl = TypeUrl, ResponseNonce = response.Nonce };
        if (faults.Count == 0)
        {
            Volatile.Write(ref _isReady, true);
            Volatile.Write(ref _lastRefusal, null);
            return answer;
        }

        var detail = Detail(faults);
        Volatile.Write(ref _lastRefusal, detail);
        _logger.ResourcesRefused(TypeUrl, faults.Count, detail);
        answer.ErrorDetail = new Status { Code = InvalidArgument, Message = detail };
        return answer;
    }

    // A first connection on demand says "everything" and takes it back in one message, by which istiod understands "nothing" (ztunnel §5.4).
    private DeltaDiscoveryRequest Opening_NeedsLock(Node node)
    {
        var opening = new DeltaDiscoveryRequest { TypeUrl = TypeUrl, Node = node };
        foreach (var (name, version) in _isWholeNext ? [] : _versions)
        {
            opening.InitialResourceVersions.Add(name, version);
        }

        if (Mode is XdsSubscriptionMode.OnDemand)
        {
            opening.ResourceNamesSubscribe.Add(Everything);
            opening.ResourceNamesUnsubscribe.Add(Everything);
            foreach (var name in _demands.Keys)
            {
                opening.ResourceNamesSubscribe.Add(name);
                opening.InitialResourceVersions.TryAdd(name, "");
            }

            _toSubscribe.Clear();
            _toUnsubscribe.Clear();
        }

        return opening;
    }

    // Without versions in the opening the server cannot say what is gone; its first response then holds all that there is.
    private string[] Gone(DeltaDiscoveryResponse response)
    {
        lock (_gate)
        {
            if (!_isWholeNext)
            {
                return [];
            }

            _isWholeNext = false;
            var there = response.Resources.Select(resource => resource.Name).ToHashSet();
            return [.. _versions.Keys.Where(name => !there.Contains(name))];
        }
    }

    private ImmutableArray<XdsResource<T>> Read(DeltaDiscoveryResponse response, List<(string Name, string Reason)> faults)
    {
        var twice = response.Resources.CountBy(resource => resource.Name).Where(name => name.Value > 1).Select(name => name.Key).ToHashSet();
        var read = ImmutableArray.CreateBuilder<XdsResource<T>>(response.Resources.Count);
        foreach (var resource in response.Resources)
        {
            if (Fault(resource, twice) is { } fault)
            {
                Unreadable(resource, fault);
                continue;
            }

            try
            {
                Add(resource, _type.Parse(resource.Name, resource.Resource_.Value.Memory));
            }
            catch (Exception e)
            {
                // By contract: whatever the parser throws is the resource's fault.
                Unreadable(resource, e.Message);
            }
        }

        return read.DrainToImmutable();

        void Add(Resource resource, T value) => read.Add(new XdsResource<T>(resource.Name, resource.Version, value, [.. resource.Aliases], !IsHeld(resource.Name)));

        // Once, however often it stands there.
        void Unreadable(Resource resource, string fault)
        {
            if (_type.Unreadable is { } standIn && resource.Name.Length > 0)
            {
                if (!read.Any(one => one.Name == resource.Name))
                {
                    Add(resource, standIn(resource.Name, fault));
                }
            }
            else if (!faults.Contains((resource.Name, fault)))
            {
                faults.Add((resource.Name, fault));
            }
        }
    }

    private string? Fault(Resource resource, HashSet<string> twice)
    {
        if (resource.Name.Length == 0)
        {
            return "a resource has no name";
        }

        if (resource.Resource_ is null)
        {
            return "it has no content";
        }

        // A policy that is read as something else could open what it closes.
        return resource.Resource_.TypeUrl.Length > 0 && resource.Resource_.TypeUrl != TypeUrl
            ? $"its type is {resource.Resource_.TypeUrl}; the stream's is {TypeUrl}"
            : twice.Contains(resource.Name) ? "it stands more than once in one message" : null;
    }

    private bool IsHeld(string name)
    {
        lock (_gate)
        {
            return _versions.ContainsKey(name);
        }
    }

    private void Hold(XdsUpdate<T> update)
    {
        lock (_gate)
        {
            foreach (var name in update.Removed)
            {
                _versions.Remove(name);
            }

            foreach (var resource in update.Changed.Where(resource => update.HadEffect(resource.Name)))
            {
                // Without a version when it was applied in part: after a reconnect the server is to send it again.
                _versions[resource.Name] = update.IsReported(resource.Name) ? "" : resource.Version;
            }

            if (Mode is XdsSubscriptionMode.OnDemand)
            {
                AnswerDemands_NeedsLock(update);
            }
        }
    }

    private void AnswerDemands_NeedsLock(XdsUpdate<T> update)
    {
        foreach (var removed in update.Removed)
        {
            foreach (var name in _foundBy.Remove(removed, out var names) ? names : [])
            {
                Set_NeedsLock(name, foundAs: null);
            }

            Set_NeedsLock(removed, foundAs: null);
        }

        foreach (var resource in update.Changed.Where(resource => update.HadEffect(resource.Name)))
        {
            HashSet<string> names = [resource.Name, .. resource.Aliases, .. _type.NamesOf?.Invoke(resource.Value) ?? []];

            // What it no longer answers to may be another's now: that is a new question.
            foreach (var name in _foundBy.TryGetValue(resource.Name, out var before) ? before.Except(names).ToList() : [])
            {
                before!.Remove(name);
                _demands.Remove(name);
                _toUnsubscribe.Add(name);
            }

            foreach (var name in names.Where(_demands.ContainsKey))
            {
                Set_NeedsLock(name, resource.Name);
                (_foundBy.TryGetValue(resource.Name, out var found) ? found : _foundBy[resource.Name] = []).Add(name);
            }
        }

        while (_absent.Count > MaxAbsent)
        {
            var name = _absent.Dequeue();
            if (_demands.TryGetValue(name, out var demand) && demand is { FoundAs: null, Answer.Task.IsCompleted: true })
            {
                _demands.Remove(name);
                _toUnsubscribe.Add(name);
            }
        }
    }

    private void Set_NeedsLock(string name, string? foundAs)
    {
        if (!_demands.TryGetValue(name, out var demand))
        {
            return;
        }

        _unanswered -= demand.Answer.Task.IsCompleted ? 0 : 1;
        demand.Set(foundAs);
        if (foundAs is null)
        {
            _absent.Enqueue(name);
        }
    }

    private static string Detail(List<(string Name, string Reason)> faults)
    {
        var detail = string.Join("; ", faults.Select(fault => $"{fault.Name}: {fault.Reason}"));
        return detail.Length <= MaxDetail ? detail : $"{detail[..MaxDetail]}... ({faults.Count} faults)";
    }

    /// <summary>A name that was asked for. It stays asked for: the server tells when it comes and goes.</summary>
    private sealed class Demand
    {
        public TaskCompletionSource<bool> Answer { get; private set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>The name of the resource that answers to it; null while there is none.</summary>
        public string? FoundAs { get; private set; }

        public void Set(string? foundAs)
        {
            FoundAs = foundAs;
            if (!Answer.TrySetResult(foundAs is not null))
            {
                Answer = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                Answer.SetResult(foundAs is not null);
            }
        }
    }
}
