using System.Collections;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>One line for every connection, refused ones too, with the fields of Istio's ztunnel in their order (ztunnel §10.3).</summary>
public sealed class AccessLog
{
    private readonly ILogger _logger;
    private readonly TimeProvider _time;

    /// <summary>Writes to the category <c>access</c>.</summary>
    public AccessLog(ILoggerFactory loggers, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(loggers);
        ArgumentNullException.ThrowIfNull(time);
        _logger = loggers.CreateLogger("access");
        _time = time;
    }

    /// <summary>Raised once for each connection, when it has ended. Must not block.</summary>
    public event EventHandler<ConnectionRecord>? Recorded;

    /// <summary>Raised for each connection that opens, when it does. Must not block.</summary>
    internal event EventHandler<ConnectionRecord>? Began;

    /// <summary>Begins a record; disposing the result writes it.</summary>
    internal Recording Begin(ConnectionRecord record)
    {
        record.BeganAt = _time.GetTimestamp();
        return new Recording(this, record);
    }

    /// <summary>Says that a connection is about to carry octets.</summary>
    internal void Opened(ConnectionRecord record)
    {
        record.WasOpened = true;
        Began?.Invoke(this, record);
        if (_logger.IsEnabled(LogLevel.Debug))
        {
            _logger.Log(LogLevel.Debug, new EventId(3001, "ConnectionOpened"), new Line("connection opened", Fields(record, ended: false)), null, Format);
        }
    }

    private void Ended(ConnectionRecord record)
    {
        record.Duration = _time.GetElapsedTime(record.BeganAt);
        if (IsWritten(record))
        {
            var (message, id) = record.Outcome is ConnectionOutcome.Rejected
                ? ("connection failed", new EventId(3003, "ConnectionFailed"))
                : ("connection complete", new EventId(3002, "ConnectionComplete"));
            _logger.Log(Level(record), id, new Line(message, Fields(record, ended: true)), null, Format);
        }

        Recorded?.Invoke(this, record);
    }

    private bool IsWritten(ConnectionRecord record) => _logger.IsEnabled(Level(record));

    private static LogLevel Level(ConnectionRecord record) => record.Outcome switch
    {
        ConnectionOutcome.Complete => LogLevel.Information,
        ConnectionOutcome.Rejected => LogLevel.Warning,
        _ => LogLevel.Error,
    };

    // The order is part of the format. Addresses stand without quotes, so they are not strings.
    private static List<KeyValuePair<string, object?>> Fields(ConnectionRecord record, bool ended)
    {
        var fields = new List<KeyValuePair<string, object?>>(17);
        Add("src.addr", record.Source);
        Add("src.workload", Name(record.SourceWorkload, record.SourceBaggage));
        Add("src.namespace", record.SourceWorkload?.Namespace ?? record.SourceBaggage?.NamespaceName);
        Add("src.identity", record.SourceIdentity?.ToString());
        Add("src.cluster", record.SourceWorkload?.ClusterId ?? record.SourceBaggage?.ClusterName);
        Add("dst.addr", record.Destination);
        Add("dst.hbone_addr", Unquote(record.HboneAddress));
        Add("dst.service", record.DestinationService?.Hostname);
        Add("dst.workload", Name(record.DestinationWorkload, record.DestinationBaggage));
        Add("dst.namespace", record.DestinationWorkload?.Namespace ?? record.DestinationBaggage?.NamespaceName ?? record.DestinationService?.Namespace);
        Add("dst.identity", record.DestinationIdentity?.ToString());
        Add("dst.cluster", record.DestinationWorkload?.ClusterId ?? record.DestinationBaggage?.ClusterName);
        Add("direction", record.Direction is ConnectionDirection.Inbound ? "inbound" : "outbound");
        if (ended && record.Outcome is not ConnectionOutcome.Rejected)
        {
            Add("bytes_sent", record.BytesSent);
            Add("bytes_recv", record.BytesReceived);
            Add("duration", $"{(long)record.Duration.TotalMilliseconds}ms");
        }

        Add("error", ended ? record.Error : null);
        return fields;

        void Add(string key, object? value)
        {
            if (value is not (null or ""))
            {
                fields.Add(KeyValuePair.Create<string, object?>(key, value));
            }
        }
    }

    // An authority that is an address reads like one; whatever else a peer has sent is quoted and escaped like any text.
    private static object? Unquote(string? address) =>
        address is not null && address.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or ':' or '-' or '_' or '[' or ']') ? new Unquoted(address) : address;

    private static string? Name(Workload? workload, Baggage? baggage) =>
        workload is { Name.Length: > 0 } ? workload.Name : workload?.CanonicalName ?? baggage?.ServiceName;

    private static string Format(Line line, Exception? error) => line.Message;

    /// <summary>A record under way.</summary>
    internal readonly struct Recording(AccessLog log, ConnectionRecord record) : IAsyncDisposable
    {
        public ConnectionRecord Record => record;

        // A log whose reader is slow makes its writers wait. That must not be the thread that polls the sockets, on which we may be.
        public async ValueTask DisposeAsync()
        {
            if (log.IsWritten(record))
            {
                await Task.Yield();
            }

            log.Ended(record);
        }
    }

    /// <summary>A text that was not made by us but is an address to the reader.</summary>
    private sealed record Unquoted(string Text)
    {
        public override string ToString() => Text;
    }

    /// <summary>The fields as structured state, so that any logging provider sees them by name.</summary>
    private sealed class Line(string message, List<KeyValuePair<string, object?>> fields) : IReadOnlyList<KeyValuePair<string, object?>>
    {
        public string Message => message;

        public int Count => fields.Count;

        public KeyValuePair<string, object?> this[int index] => fields[index];

        public IEnumerator<KeyValuePair<string, object?>> GetEnumerator() => fields.GetEnumerator();

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

        public override string ToString() => message;
    }
}
