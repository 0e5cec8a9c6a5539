using System.Net;
using Mesh.Core.Workloads;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>Answers one message, whatever way it came.</summary>
internal sealed class DnsHandler : IAsyncDisposable
{
    private readonly DnsContext _context;
    private readonly DnsResolver _resolver;
    private readonly DnsForwarder _forwarder;
    private readonly DnsQueryLog _log;
    private readonly ILogger _logger;
    private readonly Quota _quota;

    public DnsHandler(DnsContext context)
    {
        _context = context;
        _resolver = new DnsResolver(context.Options, context.Random);
        _forwarder = new DnsForwarder(context);
        _log = new DnsQueryLog(context.Loggers);
        _logger = context.Loggers.CreateLogger<DnsHandler>();
        _quota = new Quota(context.Options.MaxConcurrentQueries);
    }

    /// <summary>Answers a message.</summary>
    /// <param name="request">The message, judged.</param>
    /// <param name="protocol">How it came.</param>
    /// <param name="client">Whose it is.</param>
    /// <param name="cancellationToken">Ends the wait; there is no answer then.</param>
    /// <returns>What to send back; null for nothing.</returns>
    public async ValueTask<byte[]?> HandleAsync(DnsRequest request, DnsProtocol protocol, IPEndPoint client, CancellationToken cancellationToken)
    {
        switch (request)
        {
            case DnsRequest.Ignored ignored:
                _logger.MessageIgnored(client, protocol, ignored.Reason);
                return null;
            case DnsRequest.Refused refused:
                _logger.MessageRefused(client, protocol, refused.Code, refused.Reason);
                return DnsResponse.Write(refused);
            default:
                var query = (DnsRequest.Query)request;
                var answer = await AnswerWithinQuotaAsync(query, protocol, client, cancellationToken);
                return DnsResponse.Write(query, answer, protocol is DnsProtocol.Tcp ? DnsResponse.MaxTcpLength : DnsResponse.UdpLimit(query.Edns));
        }
    }

    /// <summary>Gives up what waits for upstream servers.</summary>
    public ValueTask DisposeAsync() => _forwarder.DisposeAsync();

    private async ValueTask<DnsAnswer> AnswerWithinQuotaAsync(DnsRequest.Query query, DnsProtocol protocol, IPEndPoint client, CancellationToken cancellationToken)
    {
        if (!_quota.TryEnter())
        {
            _logger.TooManyQueries(_context.Options.MaxConcurrentQueries);
            return DnsAnswer.ServFail;
        }

        try
        {
            return await AnswerAsync(query, protocol, client, cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            _logger.HandlerFailed(client, e);
            return DnsAnswer.ServFail;
        }
        finally
        {
            _quota.Exit();
        }
    }

    private async ValueTask<DnsAnswer> AnswerAsync(DnsRequest.Query query, DnsProtocol protocol, IPEndPoint client, CancellationToken cancellationToken)
    {
        Workload workload;
        try
        {
            workload = await _context.LocalWorkload(cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            _logger.ClientUnknown(client, e);
            return DnsAnswer.ServFail;
        }

        var tags = DnsMetrics.TagsOf(query.Question, protocol, workload);
        _context.Metrics.Requested(tags);
        var resolution = _resolver.Resolve(_context.State.Current, workload, query.Question);
        var answer = resolution is DnsResolution.Local local ? local.Answer : await _forwarder.ForwardAsync(query, protocol, tags, cancellationToken);
        if (_log.IsEnabled)
        {
            // A log whose reader is slow makes its writers wait. That must not be the one who receives, on whose thread we may be.
            await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
            _log.Write(workload, query.Question, answer, resolution is DnsResolution.Local ? resolution.Reason : $"forwarded, {resolution.Reason}");
        }

        return answer;
    }
}
