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
    private const int MaxDemands = 100_000;
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
    private readonly Queue<string> _absent = [];
    private readonly HashSet<string> _toSubscribe = [];
    private readonly HashSet<string> _toUnsubscribe = [];
    private bool _isOpen;
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
                if (_demands.Count >= MaxDemands)
                {
                    return XdsDemand.Unanswered;
                }

                demand = new Demand();
                _demands.Add(name, demand);
                _toSubscribe.Add(name);
                _toUnsubscribe.Remove(name);
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

    internal override void Restart()
    {
        lock (_gate)
        {
            _isOpen = false;
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

            var request = new DeltaDiscoveryRequest { TypeUrl = TypeUrl };
            request.ResourceNamesSubscribe.Add(_toSubscribe);
            request.ResourceNamesUnsubscribe.Add(_toUnsubscribe);
            _toSubscribe.Clear();
            _toUnsubscribe.Clear();
            return request;
        }
    }

    internal override DeltaDiscoveryRequest Answer(DeltaDiscoveryResponse response)
    {
        var faults = new List<(string Name, string Reason)>();
        var update = new XdsUpdate<T>(Read(response, faults), [.. response.RemovedResources.Distinct()]);
        var isApplied = true;
        try
        {
            _handler.Apply(update);
        }
        catch (Exception e)
        {
            // Whatever a handler throws, the stream goes on: the last good state is worth more than the reason.
            isApplied = false;
            faults.Add((TypeUrl, e.Message));
            _logger.HandlerFailed(TypeUrl, e);
        }

        faults.AddRange(update.Refused);
        if (isApplied)
        {
            Hold(update);
        }

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
        foreach (var (name, version) in _versions)
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

    private ImmutableArray<XdsResource<T>> Read(DeltaDiscoveryResponse response, List<(string Name, string Reason)> faults)
    {
        var twice = response.Resources.CountBy(resource => resource.Name).Where(name => name.Value > 1).Select(name => name.Key).ToHashSet();
        var read = ImmutableArray.CreateBuilder<XdsResource<T>>(response.Resources.Count);
        foreach (var resource in response.Resources)
        {
            if (Fault(resource, twice) is { } fault)
            {
                faults.Add((resource.Name, fault));
                continue;
            }

            try
            {
                var value = _type.Parse(resource.Name, resource.Resource_.Value.Memory);
                read.Add(new XdsResource<T>(resource.Name, resource.Version, value, [.. resource.Aliases], !IsHeld(resource.Name)));
            }
            catch (Exception e)
            {
                // By contract: whatever the parser throws is the resource's fault.
                faults.Add((resource.Name, e.Message));
            }
        }

        foreach (var name in twice)
        {
            faults.Add((name, "it stands more than once in one message"));
        }

        return read.DrainToImmutable();
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
            : twice.Contains(resource.Name) ? "" : null;
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
        var removed = update.Removed.ToHashSet();
        foreach (var (name, demand) in _demands)
        {
            if (removed.Contains(name) || (demand.FoundAs is { } found && removed.Contains(found)))
            {
                demand.Set(foundAs: null);
                _absent.Enqueue(name);
            }
        }

        foreach (var resource in update.Changed.Where(resource => update.HadEffect(resource.Name)))
        {
            foreach (var name in resource.Aliases.Prepend(resource.Name).Concat(_type.NamesOf?.Invoke(resource.Value) ?? []))
            {
                if (_demands.TryGetValue(name, out var demand))
                {
                    demand.Set(resource.Name);
                }
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

    private static string Detail(List<(string Name, string Reason)> faults)
    {
        var detail = string.Join("; ", faults.Where(fault => fault.Reason.Length > 0).Select(fault => $"{fault.Name}: {fault.Reason}"));
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
