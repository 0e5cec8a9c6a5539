using System.Threading.Channels;
using Mesh.Core.Workloads;
using Mesh.Xds.Grpc;
using Mesh.Xds.Protos;
using Mesh.Xds.Workloads;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.Server;

/// <summary>One client's stream of delta discovery: its requests are read while responses are written.</summary>
internal sealed class DiscoveryStream
{
    // Versions of all that a client has, in the first request after a reconnect.
    private const int MaxRequestSize = 64 * 1024 * 1024;

    // What a client sends goes into log lines.
    private const int MaxDetail = 2048;
    private const int MaxTypeUrl = 256;

    private readonly Lock _gate = new();
    private readonly Channel<bool> _news = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly Catalogs _catalogs;
    private readonly MeshState _state;
    private readonly ControlPlaneClient _client;
    private readonly ControlPlaneOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;

    // In the order in which they are served: addresses before the policies that speak of them.
    private readonly SortedList<string, TypeStream> _types = new(Comparer<string>.Create((left, right) => (Order(left), left).CompareTo((Order(right), right))));

    public DiscoveryStream(Catalogs catalogs, MeshState state, ControlPlaneClient client, ControlPlaneOptions options, TimeProvider time, ILogger logger)
    {
        _catalogs = catalogs;
        _state = state;
        _client = client;
        _options = options;
        _time = time;
        _logger = logger;
    }

    /// <summary>Serves until the client ends, or does what it must not.</summary>
    /// <exception cref="GrpcException">How the stream is to end.</exception>
    public async Task RunAsync(Stream request, Stream response, CancellationToken cancellationToken)
    {
        _catalogs.Changed += Wake;
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            var reading = ReadAsync(request, end.Token);
            var writing = WriteAsync(response, end.Token);
            var first = await Task.WhenAny(reading, writing);
            await end.CancelAsync();
            await Task.WhenAll(reading, writing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await first;
        }
        finally
        {
            _catalogs.Changed -= Wake;
        }
    }

    private static int Order(string typeUrl) => typeUrl == MeshResources.AddressTypeUrl ? 0 : 1;

    private void Wake() => _news.Writer.TryWrite(true);

    private async Task ReadAsync(Stream request, CancellationToken cancellationToken)
    {
        while (await GrpcFraming.ReadAsync(request, DeltaDiscoveryRequest.Parser, MaxRequestSize, cancellationToken) is { } message)
        {
            Take(message);
            Wake();
        }
    }

    private void Take(DeltaDiscoveryRequest request)
    {
        if (request.ErrorDetail is { } refusal)
        {
            _logger.Refused(_client.Name, PrintableText.Of(request.TypeUrl, MaxTypeUrl), PrintableText.Of(refusal.Message, MaxDetail));
        }

        lock (_gate)
        {
            if (!_types.TryGetValue(request.TypeUrl, out var type))
            {
                if (Begin(request) is not { } begun)
                {
                    _logger.TypeUnknown(_client.Name, PrintableText.Of(request.TypeUrl, MaxTypeUrl));
                    return;
                }

                type = begun;
                _types.Add(request.TypeUrl, type);
            }

            if (request.ResponseNonce.Length > 0 && request.ResponseNonce == type.Awaiting)
            {
                type.Answered();
            }

            type.Subscribe(request);
        }
    }

    // Names that are subscribed to, or everything subscribed to and taken back at once, mean: on demand (ztunnel §5.4).
    private TypeStream? Begin(DeltaDiscoveryRequest request) => request.TypeUrl switch
    {
        MeshResources.AddressTypeUrl => request.ResourceNamesSubscribe.Count == 0 || (request.ResourceNamesSubscribe.Contains("*") && !request.ResourceNamesUnsubscribe.Contains("*"))
            ? new WildcardStream(_catalogs.Addresses)
            : new OnDemandStream(_catalogs.Addresses, _state, _client, _options.MaxNames),
        MeshResources.AuthorizationTypeUrl => new WildcardStream(_catalogs.Authorizations),
        _ => null,
    };

    // A client that takes nothing would keep a mesh of long ago in memory, and never hear what changed.
    private async Task WriteAsync(Stream response, CancellationToken cancellationToken)
    {
        using var stall = new CancellationTokenSource(Timeout.InfiniteTimeSpan, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stall.Token, cancellationToken);
        try
        {
            while (await _news.Reader.WaitToReadAsync(cancellationToken))
            {
                _news.Reader.TryRead(out _);
                while (Next() is { } next)
                {
                    stall.CancelAfter(_options.StallTimeout);
                    await GrpcFraming.WriteAsync(response, next.Response, next.Shared, () => stall.CancelAfter(_options.StallTimeout), either.Token);
                    stall.CancelAfter(Timeout.InfiniteTimeSpan);
                }
            }
        }
        catch (OperationCanceledException e) when (stall.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new GrpcException(GrpcStatusCode.DeadlineExceeded, $"the client took nothing for {_options.StallTimeout}", e);
        }
    }

    private (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Next()
    {
        lock (_gate)
        {
            foreach (var type in _types.Values)
            {
                if (type.Next() is { } next)
                {
                    return next;
                }
            }

            return null;
        }
    }
}
