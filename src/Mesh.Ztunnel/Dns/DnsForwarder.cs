using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>Answers from upstream servers: from the cache, or by asking them in turn. Equal questions that come meanwhile share one (RFC 5452 section 5).</summary>
internal sealed class DnsForwarder : IAsyncDisposable
{
    // The first server, and another try: at the next one, or at the same where there is one only.
    private const int Attempts = 2;

    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<DnsUpstreamRequest, Task<DnsAnswer>> _asked = new();
    private readonly DnsContext _context;
    private readonly ImmutableArray<IPEndPoint> _servers;
    private readonly DnsUpstream _upstream;
    private readonly DnsCache _cache;
    private readonly Quota _quota;
    private readonly ILogger _logger;

    public DnsForwarder(DnsContext context)
    {
        var options = context.Options;
        _context = context;
        _servers = options.UpstreamServers?.ToImmutableArray() ?? ResolvConf.Read(ResolvConf.Path).NameServers;
        _upstream = new DnsUpstream(context);
        _cache = new DnsCache(options.MaxCacheEntries, context.Time);
        _quota = new Quota(options.MaxUpstreamQueries);
        _logger = context.Loggers.CreateLogger<DnsForwarder>();
        if (_servers.IsEmpty)
        {
            _logger.NoUpstreamServers();
        }
    }

    /// <summary>Answers a question; SERVFAIL when no server does.</summary>
    /// <param name="query">The client's question.</param>
    /// <param name="protocol">How it came.</param>
    /// <param name="tags">What the metrics tell it apart by.</param>
    /// <param name="cancellationToken">Ends the caller's wait; others may wait for the same answer.</param>
    public async ValueTask<DnsAnswer> ForwardAsync(DnsRequest.Query query, DnsProtocol protocol, TagList tags, CancellationToken cancellationToken)
    {
        var request = DnsUpstreamRequest.Of(query, protocol);
        var key = new DnsCacheKey(request.Question, request.DnssecOk);
        var mayKeep = request is { RecursionDesired: true, CheckingDisabled: false };
        if (mayKeep && _cache.TryGet(key, out var known))
        {
            return known;
        }

        var ours = new TaskCompletionSource<DnsAnswer>(TaskCreationOptions.RunContinuationsAsynchronously);
        var asked = _asked.GetOrAdd(request, ours.Task);
        if (asked == ours.Task)
        {
            _ = AskAsync(request, mayKeep ? key : null, tags, ours);
        }

        return await asked.WaitAsync(cancellationToken);
    }

    /// <summary>Gives up what is under way. The source is not disposed: it holds no timer, and who was cut off may still look at it.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _quota.WhenEmptyAsync();
    }

    private async Task AskAsync(DnsUpstreamRequest request, DnsCacheKey? key, TagList tags, TaskCompletionSource<DnsAnswer> result)
    {
        DnsAnswer? answer = null;
        try
        {
            _context.Metrics.Forwarded(tags);
            answer = _quota.TryEnter() ? await AskAndLeaveAsync(request, tags) : Refuse();
            if (answer is null)
            {
                _context.Metrics.Failed(tags);
            }
            else if (key is { } known)
            {
                _cache.Add(known, answer);
            }
        }
        finally
        {
            // Whatever happens, nobody may wait for ever. After it is in the cache, so that nobody asks again in between.
            _asked.TryRemove(request, out _);
            result.SetResult(answer ?? DnsAnswer.ServFail);
        }
    }

    private DnsAnswer? Refuse()
    {
        _logger.TooManyUpstreamQueries(_context.Options.MaxUpstreamQueries);
        return null;
    }

    private async Task<DnsAnswer?> AskAndLeaveAsync(DnsUpstreamRequest request, TagList tags)
    {
        try
        {
            var began = _context.Time.GetTimestamp();
            var answer = await AskInTurnAsync(request);
            _context.Metrics.Took(_context.Time.GetElapsedTime(began), tags);
            return answer;
        }
        finally
        {
            _quota.Exit();
        }
    }

    private async Task<DnsAnswer?> AskInTurnAsync(DnsUpstreamRequest request)
    {
        for (var attempt = 0; attempt < Attempts && !_servers.IsEmpty && !_stop.IsCancellationRequested; attempt++)
        {
            var server = _servers[attempt % _servers.Length];
            using var timeout = new CancellationTokenSource(_context.Options.UpstreamTimeout / Attempts, _context.Time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, _stop.Token);
            try
            {
                return await _upstream.AskAsync(server, request, either.Token);
            }
            catch (Exception e)
            {
                // Whatever it was: no socket, no route, no answer. Others wait for the outcome.
                _logger.UpstreamFailed(server, e is OperationCanceledException ? "not in time" : e.Message);
            }
        }

        return null;
    }
}
