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
    private readonly XdsDemands _demands = new();
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

        XdsDemands.Demand? demand;
        Task<bool> answer;
        lock (_gate)
        {
            if (_versions.ContainsKey(name))
            {
                return XdsDemand.Found;
            }

            demand = _demands.Begin(name);
            if (demand is null)
            {
                return XdsDemand.Unanswered;
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
        finally
        {
            lock (_gate)
            {
                _demands.End(name, demand);
            }
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

            return _demands.NextRequest(TypeUrl);
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
            _demands.AddTo(opening);
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
                _demands.Answer(
                    [.. update.Changed.Where(resource => update.HadEffect(resource.Name)).Select(resource => (resource.Name, NamesOf(resource)))],
                    update.Removed.Where(name => !_versions.ContainsKey(name)));
            }
        }
    }

    private HashSet<string> NamesOf(XdsResource<T> resource) => [resource.Name, .. resource.Aliases, .. _type.NamesOf?.Invoke(resource.Value) ?? []];
}
