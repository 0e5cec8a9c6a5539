using System.Collections;
using Mesh.Core.Workloads;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Dns;

/// <summary>One line for every question of a known workload, at level debug, with the fields of Istio's ztunnel (ztunnel §10.3).</summary>
internal sealed class DnsQueryLog(ILoggerFactory loggers)
{
    private static readonly EventId QueryAnswered = new(3100, "QueryAnswered");
    private readonly ILogger _logger = loggers.CreateLogger("dns");

    public bool IsEnabled => _logger.IsEnabled(LogLevel.Debug);

    /// <summary>Writes the line.</summary>
    /// <param name="client">The workload that has asked.</param>
    /// <param name="question">What it asked.</param>
    /// <param name="answer">What it is told.</param>
    /// <param name="reason">Where the answer comes from.</param>
    public void Write(Workload client, DnsQuestion question, DnsAnswer answer, string reason)
    {
        var endpoints = answer.Answers.Count(record => record.Type is DnsRecordType.A or DnsRecordType.Aaaa);
        var line = new Line(
        [
            new("src.workload", client.Name.Length > 0 ? client.Name : client.CanonicalName),
            new("src.namespace", client.Namespace),
            new("query", question.Type.Mnemonic()),
            new("domain", question.Name.ToString()),
            new("result", answer.Code is DnsResponseCode.NoError ? reason : $"{answer.Code.ToString().ToUpperInvariant()}, {reason}"),
            new("endpoints", endpoints),
        ]);
        _logger.Log(LogLevel.Debug, QueryAnswered, line, null, static (line, _) => line.ToString());
    }

    private sealed class Line(KeyValuePair<string, object?>[] fields) : IReadOnlyList<KeyValuePair<string, object?>>
    {
        public int Count => fields.Length;

        public KeyValuePair<string, object?> this[int index] => fields[index];

        public IEnumerator<KeyValuePair<string, object?>> GetEnumerator() => fields.AsEnumerable().GetEnumerator();

        IEnumerator IEnumerable.GetEnumerator() => fields.GetEnumerator();

        public override string ToString() => "dns query";
    }
}
