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

    // What an application can make us ask for has a bound: of names that do not exist the oldest is given up, and of those without an answer the one that has been waited for by nobody for longest.
    internal const int MaxUnanswered = 10_000;
    private const int MaxAbsent = 10_000;

    // The server gets more of it.
    private const int MaxLogged = 4096;

    // An opening that is refused as too much is not the reason when it is smaller. Servers on gRPC take 4 MiB unless they are told otherwise.
    private const int LargeOpening = 1024 * 1024;

    // A server may send all that it has in several messages.
    private static readonly TimeSpan SettleAfter = TimeSpan.FromSeconds(30);

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

    // The names without an answer that nobody waits for any more.
    private readonly LinkedList<string> _idle = [];
    private readonly HashSet<string> _toSubscribe = [];
    private readonly HashSet<string> _toUnsubscribe = [];
    private int _unanswered;
    private bool _isOpen;

    // In octets; 0 when the server has taken it.
    private int _openingSize;
    private bool _isWithoutVersions;

    // What was held when it could not be named, and has not been named by the server since. Null when the server knows.
    private HashSet<string>? _unconfirmed;
    private long? _lastResponse;
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

    internal override TimeSpan? SettlesIn
    {
        get
        {
            lock (_gate)
            {
                return _unconfirmed is not null && _lastResponse is { } last ? SettleAfter - _time.GetElapsedTime(last) : null;
            }
        }
    }

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

        Demand? demand;
        Task<bool> answer;
        lock (_gate)
        {
            if (_versions.ContainsKey(name))
            {
                return XdsDemand.Found;
            }

            if (!_demands.TryGetValue(name, out demand))
            {
                // As many as nobody has answered yet are enough, and are asked again with each stream.
                if (_unanswered >= MaxUnanswered && !GiveUpOldest_NeedsLock())
                {
                    return XdsDemand.Unanswered;
                }

                demand = new Demand();
                _demands.Add(name, demand);
                _unanswered++;
                _toSubscribe.Add(name);
            }

            answer = demand.Answer.Task;
            BeginWait_NeedsLock(demand);
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
        finally
        {
            EndWait(name, demand);
        }
    }

    internal override void Restart(bool wasExhausted)
    {
        lock (_gate)
        {
            _isWithoutVersions = wasExhausted && _openingSize > LargeOpening && Mode is XdsSubscriptionMode.Wildcard;
            _unconfirmed = _isWithoutVersions ? [.. _versions.Keys] : null;
            _lastResponse = null;
            _isOpen = false;
            _openingSize = 0;
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
                var opening = Opening_NeedsLock(node);
                _openingSize = opening.CalculateSize();
                return opening;
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
        Confirm(response);
        var faults = new XdsFaults();
        Apply(new XdsUpdate<T>(Read(response, faults), [.. response.RemovedResources.Distinct()], faults));

        var answer = new DeltaDiscoveryRequest { TypeUrl = TypeUrl, ResponseNonce = response.Nonce };
        if (faults.Count == 0)
        {
            Volatile.Write(ref _isReady, true);
            Volatile.Write(ref _lastRefusal, null);
            return answer;
        }

        var detail = faults.ToString();
        Volatile.Write(ref _lastRefusal, detail);
        _logger.ResourcesRefused(TypeUrl, faults.Count, PrintableText.Of(detail, MaxLogged));
        answer.ErrorDetail = new Status { Code = InvalidArgument, Message = detail };
        return answer;
    }

    internal override void Settle()
    {
        string[] gone;
        lock (_gate)
        {
            gone = [.. _unconfirmed ?? []];
            _unconfirmed = null;
        }

        if (gone.Length > 0)
        {
            _logger.NotNamed(TypeUrl, gone.Length);
            Apply(new XdsUpdate<T>([], [.. gone]));
        }
    }

    private void Apply(XdsUpdate<T> update)
    {
        try
        {
            _handler.Apply(update);
        }
        catch (Exception e)
        {
            // Whatever a handler throws, the stream goes on: the last good state is worth more than the reason.
            update.Fail(TypeUrl, e.Message);
            _logger.HandlerFailed(TypeUrl, e);
        }

        Hold(update);
    }

    private bool GiveUpOldest_NeedsLock()
    {
        if (_idle.First is not { } oldest)
        {
            return false;
        }

        _idle.Remove(oldest);
        _unanswered--;
        Forget_NeedsLock(oldest.Value);
        return true;
    }

    private void BeginWait_NeedsLock(Demand demand)
    {
        demand.Waiting++;
        Awake_NeedsLock(demand);
    }

    private void EndWait(string name, Demand demand)
    {
        lock (_gate)
        {
            if (--demand.Waiting == 0 && demand.IsFound is null)
            {
                demand.Idle = _idle.AddLast(name);
            }
        }
    }

    private void Awake_NeedsLock(Demand demand)
    {
        if (demand.Idle is { } idle)
        {
            _idle.Remove(idle);
            demand.Idle = null;
        }
    }

    // What the server was not yet asked it need not be told to forget.
    private void Forget_NeedsLock(string name)
    {
        _demands.Remove(name);
        if (!_toSubscribe.Remove(name))
        {
            _toUnsubscribe.Add(name);
        }
    }

    // A first connection on demand says "everything" and takes it back in one message, by which istiod understands "nothing" (ztunnel §5.4).
    private DeltaDiscoveryRequest Opening_NeedsLock(Node node)
    {
        var opening = new DeltaDiscoveryRequest { TypeUrl = TypeUrl, Node = node };
        foreach (var (name, version) in _isWithoutVersions ? [] : _versions)
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

    // Without versions in the opening the server cannot say what is gone: what it names is there, in whatever state.
    private void Confirm(DeltaDiscoveryResponse response)
    {
        lock (_gate)
        {
            _openingSize = 0;
            _lastResponse = _time.GetTimestamp();
            _unconfirmed?.ExceptWith(response.Resources.Select(resource => resource.Name).Concat(response.RemovedResources));
        }
    }

    private ImmutableArray<XdsResource<T>> Read(DeltaDiscoveryResponse response, XdsFaults faults)
    {
        var twice = response.Resources.CountBy(resource => resource.Name).Where(name => name.Value > 1).Select(name => name.Key).ToHashSet();
        var told = new HashSet<string>();
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
            if (!told.Add(resource.Name))
            {
                return;
            }

            if (_type.Unreadable is { } standIn && resource.Name.Length > 0)
            {
                Add(resource, standIn(resource.Name, fault));
            }
            else
            {
                faults.Add(resource.Name, fault);
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
                if (!update.HasFailed)
                {
                    _versions.Remove(name);
                }
                else if (_versions.ContainsKey(name))
                {
                    // Nobody knows whether it is gone here too: it stays named, so that the server says again that it is gone there.
                    _versions[name] = "";
                }
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

    // What is taken before what is let go: a name that moves from one resource to another has an answer all the time.
    private void AnswerDemands_NeedsLock(XdsUpdate<T> update)
    {
        var changed = update.Changed
            .Where(resource => update.HadEffect(resource.Name))
            .Select(resource => (resource.Name, Names: new HashSet<string>([resource.Name, .. resource.Aliases, .. _type.NamesOf?.Invoke(resource.Value) ?? []])))
            .ToList();
        foreach (var (resource, names) in changed)
        {
            foreach (var name in names)
            {
                Find_NeedsLock(name, resource);
            }
        }

        foreach (var (resource, names) in changed)
        {
            // What nothing answers to any more is a new question.
            foreach (var name in _foundBy.TryGetValue(resource, out var before) ? before.Except(names).ToList() : [])
            {
                before!.Remove(name);
                if (Lose_NeedsLock(name, resource))
                {
                    Forget_NeedsLock(name);
                }
            }
        }

        foreach (var removed in update.Removed.Where(name => !_versions.ContainsKey(name)))
        {
            foreach (var name in _foundBy.Remove(removed, out var names) ? names : [])
            {
                if (Lose_NeedsLock(name, removed))
                {
                    Set_NeedsLock(name, _demands[name], isFound: false);
                }
            }

            // A server may say of a name that no resource is called so, though one that is held answers to it.
            if (_demands.TryGetValue(removed, out var demand) && demand.FoundAs.Count == 0)
            {
                Set_NeedsLock(removed, demand, isFound: false);
            }
        }

        while (_absent.Count > MaxAbsent)
        {
            var name = _absent.Dequeue();
            if (_demands.TryGetValue(name, out var demand) && demand.IsFound is false)
            {
                Forget_NeedsLock(name);
            }
        }
    }

    private void Find_NeedsLock(string name, string resource)
    {
        if (_demands.TryGetValue(name, out var demand))
        {
            demand.FoundAs.Add(resource);
            (_foundBy.TryGetValue(resource, out var found) ? found : _foundBy[resource] = []).Add(name);
            Set_NeedsLock(name, demand, isFound: true);
        }
    }

    /// <returns>Whether it was the last that answered to the name.</returns>
    private bool Lose_NeedsLock(string name, string resource) =>
        _demands.TryGetValue(name, out var demand) && demand.FoundAs.Remove(resource) && demand.FoundAs.Count == 0;

    private void Set_NeedsLock(string name, Demand demand, bool isFound)
    {
        if (demand.IsFound == isFound)
        {
            return;
        }

        _unanswered -= demand.IsFound is null ? 1 : 0;
        Awake_NeedsLock(demand);
        demand.Set(isFound);
        if (!isFound)
        {
            _absent.Enqueue(name);
        }
    }

    /// <summary>A name that was asked for. It stays asked for: the server tells when it comes and goes.</summary>
    private sealed class Demand
    {
        public TaskCompletionSource<bool> Answer { get; private set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>What the server has said; null while it has not.</summary>
        public bool? IsFound { get; private set; }

        /// <summary>The names of the resources that answer to it. Two of them while it moves from one to the other.</summary>
        public HashSet<string> FoundAs { get; } = [];

        /// <summary>How many wait for it.</summary>
        public int Waiting { get; set; }

        /// <summary>Its place among the names that nobody waits for; null when it is none of them.</summary>
        public LinkedListNode<string>? Idle { get; set; }

        public void Set(bool isFound)
        {
            IsFound = isFound;
            if (!Answer.TrySetResult(isFound))
            {
                Answer = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                Answer.SetResult(isFound);
            }
        }
    }
}
