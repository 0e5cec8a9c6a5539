using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>Writes log lines to a stream from a thread of its own. When the stream is slow, who logs waits: no line is lost (ztunnel §10.3).</summary>
internal sealed class LogLineLoggerProvider : ILoggerProvider
{
    private const int MaxQueued = 10_000;

    // Lines written with one call, when they are there.
    private const int MaxBatch = 64;

    private readonly BlockingCollection<string> _lines = new(MaxQueued);
    private readonly Stream _output;
    private readonly LogFormat _format;
    private readonly TimeProvider _time;
    private readonly Thread _writer;

    public LogLineLoggerProvider(Stream output, LogFormat format, TimeProvider time)
    {
        _output = output;
        _format = format;
        _time = time;
        _writer = new Thread(Write) { IsBackground = true, Name = "log writer" };
        _writer.Start();
    }

    public ILogger CreateLogger(string categoryName) => new LineLogger(this, Scope(categoryName));

    public void Dispose()
    {
        _lines.CompleteAdding();
        _writer.Join(TimeSpan.FromSeconds(5));
    }

    // Mesh.Ztunnel.Outbound.OutboundProxy is outbound::OutboundProxy to those who know ztunnel's logs.
    private static string Scope(string category) =>
        category.StartsWith("Mesh.", StringComparison.Ordinal) ? string.Join("::", category.Split('.')[1..]) : category;

    private void Write()
    {
        var batch = new StringBuilder();
        foreach (var line in _lines.GetConsumingEnumerable())
        {
            batch.Clear().Append(line);
            for (var count = 1; count < MaxBatch && _lines.TryTake(out var next); count++)
            {
                batch.Append(next);
            }

            try
            {
                _output.Write(Encoding.UTF8.GetBytes(batch.ToString()));
                _output.Flush();
            }
            catch (IOException)
            {
                // Standard output is closed or full. The traffic matters more than its log.
            }
        }
    }

    private const string Template = "{OriginalFormat}";

    private sealed class LineLogger(LogLineLoggerProvider provider, string scope) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel is not LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            // Messages made of a template have their fields in the words already; those of the access log and of DNS name none.
            var fields = state is IReadOnlyList<KeyValuePair<string, object?>> own && !own.Any(field => field.Key == Template) ? own : [];
            var line = LogLineFormatter.Format(provider._format, provider._time.GetUtcNow(), logLevel, scope, formatter(state, exception), fields, exception);
            try
            {
                provider._lines.Add(line);
            }
            catch (InvalidOperationException)
            {
                // The last words of a program that has ended its log.
            }
        }
    }
}
