using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.Client;

/// <summary>What a client says, event by event.</summary>
internal sealed class LogRecorder : ILogger<XdsClient>
{
    private readonly ConcurrentQueue<LoggedEvent> _events = [];

    public LoggedEvent[] Named(params string[] names) => [.. _events.Where(one => names.Contains(one.Name))];

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        var values = (state as IReadOnlyList<KeyValuePair<string, object?>> ?? []).ToDictionary(pair => pair.Key, pair => pair.Value);
        _events.Enqueue(new LoggedEvent(logLevel, eventId.Name!, values));
    }
}

internal sealed record LoggedEvent(LogLevel Level, string Name, Dictionary<string, object?> Values);
