using System.Collections.Immutable;
using System.Net;
using Google.Protobuf;
using Mesh.Core.Identity;
using Mesh.Xds.Client;
using Mesh.Xds.Grpc;
using Mesh.Xds.Protos.Spiffe;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>The certificates that a SPIFFE agent, as SPIRE's, has for this program: an authority that makes the keys itself and brings new certificates when it likes (SPIFFE Workload API, section 5).</summary>
/// <remarks>
/// <list type="number">
/// <item>A stream of certificates and one of bundles, from the first question on, made anew together whenever one ends. Each message says all that the program may have: what is not in it is not handed out any more.</item>
/// <item>A question is answered with the newest certificate that the agent has brought. <see cref="WorkloadCertificates"/> asks at half of its lifetime, and again until there is a newer one.</item>
/// <item>The roots follow the streams: those of the identities' own trust domains, and of the ones that they are federated with. For a trust domain in both streams, what came with the certificates counts.</item>
/// <item>What cannot be read is told and passed over; what was there before in its place stays, and no roots are taken back by such a message.</item>
/// <item>Revocation lists of the agent take the place of those in the <see cref="TrustBundle"/>; an agent that has never sent one, as SPIRE's, leaves them alone.</item>
/// </list>
/// Thread-safe.
/// </remarks>
public sealed class SpiffeWorkloadApi : ICertificateAuthority, IAsyncDisposable
{
    // Some hundred certificates with their keys and roots.
    private const int MaxMessageSize = 4 * 1024 * 1024;

    private const string Service = "SpiffeWorkloadAPI";

    private static readonly GrpcMethod<X509SVIDRequest, X509SVIDResponse> FetchSvids = new(Service, "FetchX509SVID", X509SVIDResponse.Parser);
    private static readonly GrpcMethod<X509BundlesRequest, X509BundlesResponse> FetchBundles = new(Service, "FetchX509Bundles", X509BundlesResponse.Parser);

    // Without it an agent answers nobody: a request forged by way of a web browser cannot have it (SPIFFE Workload Endpoint, section 6).
    private static readonly GrpcCallOptions Call = new([new("workload.spiffe.io", "true")]);

    private readonly SpiffeWorkloadApiOptions _options;
    private readonly EndPoint _endPoint;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Backoff _backoff;
    private readonly SpiffeBundles _bundles;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _gate = new();

    private State _state = State.Initial;
    private TaskCompletionSource _news = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task? _running;
    private bool _disposed;

    /// <summary>Makes a client; it connects for the first certificate.</summary>
    /// <exception cref="FormatException">The endpoint is none.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of its range.</exception>
    public SpiffeWorkloadApi(SpiffeWorkloadApiOptions options, TimeProvider? time = null, Random? random = null, ILogger<SpiffeWorkloadApi>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
        _endPoint = SpiffeEndpoint.Parse(options.Endpoint);
        _time = time ?? TimeProvider.System;
        _logger = logger ?? NullLogger<SpiffeWorkloadApi>.Instance;
        _bundles = new SpiffeBundles(TrustBundle, _logger);
        _backoff = new Backoff(options.InitialBackoff, options.MaxBackoff, options.BackoffJitter, random ?? new Random());
    }

    /// <summary>Whether a text names an agent, as <see cref="SpiffeWorkloadApiOptions.Endpoint"/> must.</summary>
    public static bool IsEndpoint(string text)
    {
        try
        {
            SpiffeEndpoint.Parse(text);
            return true;
        }
        catch (FormatException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public TrustBundle TrustBundle { get; } = new();

    /// <summary>The identities that the agent has for this program, the default one first; empty before it has answered.</summary>
    public IReadOnlyList<SpiffeId> Identities => Current.Identities;

    /// <summary>What was wrong last with the agent or with what it sent; null when nothing was.</summary>
    public string? LastError => Current.Error;

    private State Current
    {
        get
        {
            lock (_gate)
            {
                return _state;
            }
        }
    }

    /// <inheritdoc/>
    public async Task<WorkloadCertificate> IssueAsync(SpiffeId identity, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(identity);
        Start();
        using var bound = new CancellationTokenSource(_options.Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, bound.Token, _stop.Token);
        while (true)
        {
            State state;
            Task news;
            lock (_gate)
            {
                (state, news) = (_state, _news.Task);
            }

            if (state.Svids.TryGetValue(identity, out var svid))
            {
                return svid.NotAfter >= _time.GetUtcNow()
                    ? svid.Create()
                    : throw new CertificateAuthorityException($"the SPIFFE agent at {_options.Endpoint} has brought no certificate of {identity} since the one that expired at {svid.NotAfter:u}{Reason(state.Error)}");
            }

            if (state.HasAnswered)
            {
                throw new CertificateAuthorityException(Missing(identity, state));
            }

            try
            {
                await news.WaitAsync(either.Token);
            }
            catch (OperationCanceledException e) when (bound.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw new CertificateAuthorityException($"the SPIFFE agent at {_options.Endpoint} brought no certificate of {identity} in {_options.Timeout}{Reason(Current.Error)}", e);
            }
            catch (OperationCanceledException e) when (_stop.IsCancellationRequested)
            {
                throw new ObjectDisposedException(nameof(SpiffeWorkloadApi), e);
            }
        }
    }

    /// <summary>Ends the stream. What was handed out and the trust bundle stay usable.</summary>
    public async ValueTask DisposeAsync()
    {
        Task? running;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            running = _running;
        }

        await _stop.CancelAsync();
        await (running ?? Task.CompletedTask).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private string Missing(SpiffeId identity, State state) => state.Identities.IsEmpty
        ? $"the SPIFFE agent at {_options.Endpoint} has no identity for this program{Reason(state.Error)}"
        : $"the SPIFFE agent at {_options.Endpoint} has no identity {identity} for this program, but {string.Join(", ", state.Identities)}{Reason(state.Error)}";

    private static string Reason(string? error) => error is null ? "" : $": {error}";

    private void Start()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _running ??= Task.Run(() => RunAsync(_stop.Token));
        }
    }

    private async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            var error = "the agent ended the stream";
            try
            {
                await StreamAsync(stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (GrpcException e) when (e.Status is GrpcStatusCode.PermissionDenied)
            {
                // An answer too: there is nothing, or nothing any more.
                error = e.Message;
                Publish(State.Initial with { HasAnswered = true, Error = error });
            }
            catch (Exception e)
            {
                // A socket that is not there, an agent that is not well: all are tried again.
                error = e.Message;
            }

            Publish(Current with { Error = error });
            var wait = _backoff.Next();
            _logger.AgentStreamEnded(_options.Endpoint, error, wait);
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

    private async Task StreamAsync(CancellationToken stop)
    {
        using var channel = ControlPlaneChannel.CreatePlain(_endPoint, MaxMessageSize, _time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        var svids = ReadAsync(channel, FetchSvids, new X509SVIDRequest(), Apply, end.Token);
        var bundles = ReadBundlesAsync(channel, end.Token);
        var first = await Task.WhenAny(svids, bundles);
        await end.CancelAsync();
        await Task.WhenAll(svids, bundles).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    private async Task ReadBundlesAsync(IGrpcChannel channel, CancellationToken stop)
    {
        try
        {
            await ReadAsync(channel, FetchBundles, new X509BundlesRequest(), Apply, stop);
        }
        catch (GrpcException e) when (e.Status is GrpcStatusCode.Unimplemented or GrpcStatusCode.PermissionDenied)
        {
            // Those that come with the certificates are enough.
            _logger.NoBundles(_options.Endpoint, e.Message);
            await Task.Delay(Timeout.InfiniteTimeSpan, _time, stop);
        }
    }

    private async Task ReadAsync<TRequest, TResponse>(IGrpcChannel channel, GrpcMethod<TRequest, TResponse> method, TRequest request, Action<TResponse> apply, CancellationToken stop)
        where TRequest : class, IMessage
        where TResponse : class, IMessage<TResponse>
    {
        await using var stream = channel.Open(method, Call, stop);
        try
        {
            await stream.WriteAsync(request, stop);
            stream.CompleteWriting();
        }
        catch (GrpcException)
        {
            // The agent may have answered without reading; what it said is read below.
        }

        while (await stream.ReadAsync(stop) is { } response)
        {
            apply(response);
            _backoff.Reset();
        }
    }

    private void Apply(X509SVIDResponse response)
    {
        var faults = new List<string>();
        var before = Current.Svids;
        var svids = ImmutableDictionary.CreateBuilder<SpiffeId, Svid>();
        var identities = ImmutableArray.CreateBuilder<SpiffeId>();
        var bundles = new Dictionary<TrustDomain, List<ByteString>>();
        foreach (var wire in response.Svids)
        {
            if (Read(wire, before, faults) is not { } svid)
            {
                continue;
            }

            // Of several for one identity the first is the one for all purposes.
            if (svids.TryAdd(svid.Identity, svid))
            {
                identities.Add(svid.Identity);
            }

            SpiffeBundles.Add(bundles, svid.Identity.TrustDomain, wire.Bundle);
        }

        // For its own trust domain, what came with the certificates counts.
        var own = bundles.Keys.ToHashSet();
        foreach (var (trustDomain, bundle) in SpiffeBundles.Read(response.FederatedBundles, faults).Where(one => !own.Contains(one.TrustDomain)))
        {
            SpiffeBundles.Add(bundles, trustDomain, bundle);
        }

        // Roots first: who gets a new certificate is to find them.
        try
        {
            _bundles.TrustWithSvids(bundles, response.Crl, faults);
        }
        finally
        {
            var fault = faults.Count == 0 ? null : string.Join("; ", faults);
            Publish(new State(svids.ToImmutable(), identities.ToImmutable(), HasAnswered: true, fault));
            _logger.SvidsBrought(_options.Endpoint, string.Join(", ", identities));
            if (fault is not null)
            {
                _logger.AgentFault(_options.Endpoint, fault);
            }
        }
    }

    private void Apply(X509BundlesResponse response)
    {
        var faults = new List<string>();
        var bundles = new Dictionary<TrustDomain, List<ByteString>>();
        foreach (var (trustDomain, bundle) in SpiffeBundles.Read(response.Bundles, faults))
        {
            SpiffeBundles.Add(bundles, trustDomain, bundle);
        }

        _bundles.TrustWithBundles(bundles, response.Crl, faults);
        if (faults.Count > 0)
        {
            _logger.AgentFault(_options.Endpoint, string.Join("; ", faults));
        }
    }

    private static Svid? Read(X509SVID wire, ImmutableDictionary<SpiffeId, Svid> before, List<string> faults)
    {
        try
        {
            return new Svid(wire);
        }
        catch (CertificateAuthorityException e)
        {
            faults.Add(e.Message);
            return SpiffeId.TryParse(wire.SpiffeId, out var identity, out _) ? before.GetValueOrDefault(identity) : null;
        }
    }

    private void Publish(State state)
    {
        TaskCompletionSource told;
        lock (_gate)
        {
            _state = state;
            told = _news;
            _news = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        told.SetResult();
    }

    /// <summary>What the agent has said.</summary>
    private sealed record State(ImmutableDictionary<SpiffeId, Svid> Svids, ImmutableArray<SpiffeId> Identities, bool HasAnswered, string? Error)
    {
        public static readonly State Initial = new(ImmutableDictionary<SpiffeId, Svid>.Empty, [], HasAnswered: false, null);
    }
}
