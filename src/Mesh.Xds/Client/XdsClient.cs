using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using System.Threading.Channels;
using Mesh.Xds.Grpc;
using Mesh.Xds.Protos;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Xds.Client;

/// <summary>Keeps a program supplied by a control plane: one incremental xDS stream for all its types, made anew whenever it ends (ztunnel §5).</summary>
/// <remarks>
/// <list type="number">
/// <item>Every type is asked for in the order of its subscription, with the versions of what is held from streams before.</item>
/// <item>A message goes to the handler of its type, and is acknowledged when that returns, or refused with the names and faults of what was not acceptable. What was acceptable counts.</item>
/// <item>Whatever ends the stream, what is held stays. The next one is opened after a wait that grows with failures.</item>
/// </list>
/// Thread-safe.
/// </remarks>
public sealed class XdsClient : IAsyncDisposable
{
    /// <summary>The name of the meter.</summary>
    public const string MeterName = "Mesh.Xds";

    // A stream that ends sooner has not shown that the server is well, whatever it has brought.
    private static readonly TimeSpan StableAfter = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan WriteFailedTimeout = TimeSpan.FromSeconds(5);

    // A stream may stay silent for good, and the client goes on with what it holds; but whoever waits for it is to know why.
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(30);

    // What is told of a server's words, in characters.
    private const int MaxError = 1024;
    private const int MaxTypeUrl = 256;

    private static readonly GrpcMethod<DeltaDiscoveryRequest, DeltaDiscoveryResponse> Method =
        new("envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources", DeltaDiscoveryResponse.Parser);

    private readonly XdsClientOptions _options;
    private readonly Node _node;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly XdsMetrics? _metrics;
    private readonly Backoff _backoff;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _turnToWrite = new(1);
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // One signal is as good as many: who reads it looks at everything.
    private readonly Channel<bool> _requestsWaiting = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private ImmutableArray<XdsSubscription> _subscriptions = [];
    private bool _isStarted;

    private Task? _running;
    private bool _isConnected;
    private string? _lastError;

    // The reason that is in the log already.
    private string? _toldError;

    /// <summary>Makes a client; it connects when <see cref="Start"/> is called.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public XdsClient(XdsClientOptions options, TimeProvider? time = null, Random? random = null, ILogger<XdsClient>? logger = null, IMeterFactory? meters = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
        _node = new Node { Id = options.Node.Id, Cluster = options.Node.Cluster, Metadata = JsonStruct.Of(options.Node.Metadata) };
        _time = time ?? TimeProvider.System;
        _logger = logger ?? NullLogger<XdsClient>.Instance;
        _metrics = meters is null ? null : new XdsMetrics(meters.Create(MeterName));
        _backoff = new Backoff(options.InitialBackoff, options.MaxBackoff, options.BackoffJitter, random ?? new Random());
    }

    /// <summary>The subscriptions, in their order.</summary>
    public IReadOnlyList<XdsSubscription> Subscriptions => _subscriptions;

    /// <summary>Whether a stream is open and has brought something.</summary>
    public bool IsConnected => Volatile.Read(ref _isConnected);

    /// <summary>Why the last stream ended or could not be opened, or that the server has not answered the one that there is; null before that. One line, with a bound.</summary>
    public string? LastError => Volatile.Read(ref _lastError);

    /// <summary>
    /// Completes once, when every subscription that there is by then is ready: one that is added before counts too, whether before the start or after it; one that is added later does not.
    /// Subscriptions on demand are ready as they are: with no others, or none at all, it completes at the start. Fails when the client is disposed before.
    /// </summary>
    public Task Ready => _ready.Task;

    /// <summary>Wants resources of a type. May be called before the start and after it.</summary>
    /// <exception cref="ArgumentException">The type is subscribed to already.</exception>
    public XdsSubscription<T> Subscribe<T>(XdsResourceType<T> type, IXdsHandler<T> handler, XdsSubscriptionMode mode = XdsSubscriptionMode.Wildcard)
    {
        ArgumentNullException.ThrowIfNull(type);
        ArgumentNullException.ThrowIfNull(handler);
        var subscription = new XdsSubscription<T>(type, mode, handler, Wake, _options.DemandTimeout, _time, _logger);
        ImmutableInterlocked.Update(
            ref _subscriptions,
            static (all, one) => all.Any(other => other.TypeUrl == one.TypeUrl)
                ? throw new ArgumentException($"{one.TypeUrl} is subscribed to already")
                : all.Add(one),
            (XdsSubscription)subscription);
        Wake();
        return subscription;
    }

    /// <summary>Begins to connect, and goes on until disposal.</summary>
    /// <exception cref="InvalidOperationException">It has begun already.</exception>
    public void Start()
    {
        ObjectDisposedException.ThrowIf(_stop.IsCancellationRequested, this);
        if (Interlocked.Exchange(ref _isStarted, true))
        {
            throw new InvalidOperationException("the client has been started already");
        }

        LookAtReadiness();
        _running = Task.Run(() => RunAsync(_stop.Token));
    }

    /// <summary>Ends the stream. What was handed to handlers stays with them.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync();
        await (_running ?? Task.CompletedTask).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_ready.TrySetException(new ObjectDisposedException(nameof(XdsClient))))
        {
            // Nobody may be waiting.
            _ = _ready.Task.Exception;
        }
    }

    private void Wake() => _requestsWaiting.Writer.TryWrite(true);

    private async Task RunAsync(CancellationToken stop)
    {
        var wasExhausted = false;
        while (!stop.IsCancellationRequested)
        {
            var begun = _time.GetTimestamp();
            Exception? fault = null;
            try
            {
                await StreamAsync(wasExhausted, stop);
                Volatile.Write(ref _lastError, "the control plane ended the stream");
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // A file that is not there, a name that is not known, a server that is not well: all are tried again.
                Volatile.Write(ref _lastError, PrintableText.Of(e.Message, MaxError));
                fault = e;
            }

            wasExhausted = fault is GrpcException { Status: GrpcStatusCode.ResourceExhausted };
            _metrics?.Terminated(IsConnected, fault);
            if (IsConnected && _time.GetElapsedTime(begun) >= StableAfter)
            {
                _backoff.Reset();
            }

            Volatile.Write(ref _isConnected, false);
            var wait = _backoff.Next();
            TellEnd(_lastError!, wait);
            try
            {
                await Task.Delay(wait, _time, stop);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    // A server that is away for a day is one warning, not six thousand.
    private void TellEnd(string reason, TimeSpan wait)
    {
        if (reason == _toldError)
        {
            _logger.StreamEndedAlike(_options.Endpoint.Address, reason, wait);
            return;
        }

        _toldError = reason;
        _logger.StreamEnded(_options.Endpoint.Address, reason, wait);
    }

    private async Task StreamAsync(bool wasExhausted, CancellationToken stop)
    {
        var endpoint = _options.Endpoint;
        var metadata = await BearerToken.MetadataAsync(endpoint, stop);
        using var channel = ControlPlaneChannel.Create(endpoint, ServerRoots.Read(endpoint.RootCertificates), _options.MaxMessageSize, _time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await using var stream = channel.Open(Method, new GrpcCallOptions(metadata), end.Token);
        foreach (var subscription in _subscriptions)
        {
            subscription.Restart(wasExhausted);
        }

        Wake();
        var writing = WriteRequestsAsync(stream, end.Token);
        var reading = ReadResponsesAsync(stream, end.Token);
        var first = await Task.WhenAny(reading, writing);
        try
        {
            // How the call ended is known to who reads: a write that failed with it only says that it did.
            await (first == writing && writing.Exception?.InnerException is not GrpcException ? writing : reading.WaitAsync(first == writing ? WriteFailedTimeout : Timeout.InfiniteTimeSpan, _time, stop));
        }
        finally
        {
            await end.CancelAsync();
            await Task.WhenAll(reading, writing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    // Openings in the order of subscription, then whatever is wanted by name.
    private async Task WriteRequestsAsync(IGrpcStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> stream, CancellationToken cancellationToken)
    {
        while (await _requestsWaiting.Reader.WaitToReadAsync(cancellationToken))
        {
            _requestsWaiting.Reader.TryRead(out _);
            foreach (var subscription in _subscriptions)
            {
                while (subscription.NextRequest(_node) is { } request)
                {
                    await WriteAsync(stream, request, cancellationToken);
                }
            }
        }
    }

    private async Task ReadResponsesAsync(IGrpcStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> stream, CancellationToken cancellationToken)
    {
        while (await NextAsync(stream.ReadAsync(cancellationToken)) is { } response)
        {
            if (!IsConnected)
            {
                _toldError = null;
                Volatile.Write(ref _isConnected, true);
                _logger.Connected(_options.Endpoint.Address);
            }

            await WriteAsync(stream, Answer(response), cancellationToken);
            LookAtReadiness();

            // What the message wanted forgotten is to be told.
            Wake();
        }
    }

    // Meanwhile it happens what is due when nothing comes.
    private async Task<DeltaDiscoveryResponse?> NextAsync(Task<DeltaDiscoveryResponse?> reading)
    {
        var begun = _time.GetTimestamp();
        var lastError = LastError;
        var isSilent = false;
        while (true)
        {
            var isAnswerDue = !IsConnected && !isSilent && _subscriptions.Any(subscription => subscription.Mode is XdsSubscriptionMode.Wildcard);
            TimeSpan? due = isAnswerDue ? AnswerTimeout - _time.GetElapsedTime(begun) : null;
            foreach (var subscription in _subscriptions)
            {
                due = subscription.SettlesIn is { } settles && !(settles >= due) ? settles : due;
            }

            try
            {
                // The call has the cancellation.
                var response = await reading.WaitAsync(due is { } wait ? Max(wait, TimeSpan.Zero) : Timeout.InfiniteTimeSpan, _time, CancellationToken.None);
                if (isSilent)
                {
                    Volatile.Write(ref _lastError, lastError);
                }

                return response;
            }
            catch (TimeoutException) when (!reading.IsCompleted)
            {
                // It goes on below, and then the wait.
            }

            if (isAnswerDue && _time.GetElapsedTime(begun) >= AnswerTimeout)
            {
                isSilent = true;
                Volatile.Write(ref _lastError, $"the control plane at {_options.Endpoint.Address.Authority} has not answered for {AnswerTimeout.TotalSeconds} s");
                _logger.NoAnswer(_options.Endpoint.Address, AnswerTimeout);
            }

            foreach (var subscription in _subscriptions.Where(subscription => subscription.SettlesIn <= TimeSpan.Zero))
            {
                subscription.Settle();
            }
        }
    }

    private static TimeSpan Max(TimeSpan one, TimeSpan other) => one > other ? one : other;

    private DeltaDiscoveryRequest Answer(DeltaDiscoveryResponse response)
    {
        var subscription = _subscriptions.FirstOrDefault(one => one.TypeUrl == response.TypeUrl);
        if (subscription is not null)
        {
            _metrics?.Received(response.TypeUrl, response.CalculateSize());
            return subscription.Answer(response);
        }

        // ztunnel §5.5: told and acknowledged.
        _logger.TypeUnknown(PrintableText.Of(response.TypeUrl, MaxTypeUrl));
        return new DeltaDiscoveryRequest { TypeUrl = response.TypeUrl, ResponseNonce = response.Nonce };
    }

    private async Task WriteAsync(IGrpcStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> stream, DeltaDiscoveryRequest request, CancellationToken cancellationToken)
    {
        await _turnToWrite.WaitAsync(cancellationToken);
        try
        {
            await stream.WriteAsync(request, cancellationToken);
        }
        finally
        {
            _turnToWrite.Release();
        }
    }

    private void LookAtReadiness()
    {
        if (!_ready.Task.IsCompleted && _subscriptions.All(subscription => subscription.IsReady))
        {
            _ready.TrySetResult();
        }
    }
}
