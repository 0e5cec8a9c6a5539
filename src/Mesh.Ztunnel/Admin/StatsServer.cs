using System.Buffers;
using System.IO.Compression;
using System.Net;
using Mesh.Ztunnel.Telemetry;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.ResponseCompression;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>Serves metrics to whoever scrapes: <c>GET /metrics</c>, <c>GET /stats/prometheus</c> (ztunnel §10.1).</summary>
internal sealed class StatsServer : IAsyncDisposable
{
    private const int MaxScrapes = 4;
    private const string OpenMetrics = "application/openmetrics-text";

    // Longer than any collector waits.
    private static readonly TimeSpan WriteTimeout = TimeSpan.FromSeconds(30);

    // Not held while the text is sent: who reads slowly must not keep others waiting.
    private readonly SemaphoreSlim _turn = new(1);
    private readonly SemaphoreSlim _sending = new(MaxScrapes);
    private readonly MetricsExposition _metrics;
    private readonly Action _beforeScrape;
    private readonly TimeProvider _time;
    private AdminHost? _host;

    private StatsServer(MetricsExposition metrics, Action beforeScrape, TimeProvider time)
    {
        _time = time;
        _metrics = metrics;
        _beforeScrape = beforeScrape;
    }

    /// <summary>Listens on <see cref="ZtunnelOptions.StatsPort"/>.</summary>
    /// <param name="options">The options; a port must be set.</param>
    /// <param name="metrics">What is served.</param>
    /// <param name="beforeScrape">Counts what is counted only when somebody looks.</param>
    /// <param name="time">The clock.</param>
    /// <param name="loggers">Where it speaks.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">The port cannot be had.</exception>
    public static async Task<StatsServer> StartAsync(
        ZtunnelOptions options, MetricsExposition metrics, Action beforeScrape, TimeProvider time, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        var server = new StatsServer(metrics, beforeScrape, time);
        var endPoint = new IPEndPoint(options.ListenAddress ?? options.Wildcard, options.StatsPort!.Value);
        server._host = await AdminHost.StartAsync([endPoint], loggers, server.Build, cancellationToken, Configure);
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await (_host?.DisposeAsync() ?? default);
        _turn.Dispose();
    }

    private static void Configure(IServiceCollection services) => services.AddResponseCompression(compression =>
    {
        compression.MimeTypes = ["text/plain", OpenMetrics];
        compression.Providers.Add<BrotliCompressionProvider>();
        compression.Providers.Add<GzipCompressionProvider>();
        compression.Providers.Add(new DeflateProvider());
    });

    private void Build(IApplicationBuilder pipeline)
    {
        pipeline.UseResponseCompression();
        pipeline.Run(AnswerAsync);
    }

    private async Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path != "/metrics" && context.Request.Path != "/stats/prometheus")
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        if (!AdminHost.Allows(context, HttpMethods.Get))
        {
            return;
        }

        // Each holds its own text while it is sent, to whoever reads how slowly.
        if (!await _sending.WaitAsync(TimeSpan.Zero, context.RequestAborted))
        {
            context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
            return;
        }

        try
        {
            await SendAsync(context);
        }
        finally
        {
            _sending.Release();
        }
    }

    private async Task SendAsync(HttpContext context)
    {
        var format = FormatOf(context.Request);
        context.Response.ContentType = format is ExpositionFormat.OpenMetrics ? $"{OpenMetrics};charset=utf-8;version=1.0.0" : "text/plain; charset=utf-8";
        context.Response.Headers.Append("Vary", "Accept");
        context.Response.Headers.XContentTypeOptions = "nosniff";
        var text = new ArrayBufferWriter<byte>(64 * 1024);
        await _turn.WaitAsync(context.RequestAborted);
        try
        {
            _beforeScrape();
            _metrics.Write(text, format);
        }
        finally
        {
            _turn.Release();
        }

        using var deadline = new CancellationTokenSource(WriteTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, context.RequestAborted);
        try
        {
            await context.Response.Body.WriteAsync(text.WrittenMemory, either.Token);
        }
        catch (OperationCanceledException)
        {
            context.Abort();
        }
    }

    private static ExpositionFormat FormatOf(HttpRequest request) =>
        request.GetTypedHeaders().Accept.Any(accept => accept.MediaType.Equals(OpenMetrics, StringComparison.OrdinalIgnoreCase) && accept.Quality is not 0)
            ? ExpositionFormat.OpenMetrics
            : ExpositionFormat.Prometheus;

    private sealed class DeflateProvider : ICompressionProvider
    {
        public string EncodingName => "deflate";

        public bool SupportsFlush => true;

        public Stream CreateStream(Stream outputStream) => new ZLibStream(outputStream, CompressionLevel.Fastest, leaveOpen: true);
    }
}
