using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;

namespace Mesh.Ztunnel.Dns;

/// <summary>What the answer to a question depends on.</summary>
internal readonly record struct DnsCacheKey(DnsQuestion Question, bool DnssecOk);

/// <summary>Keeps answers of upstream servers for as long as their records say, the negative ones for as long as RFC 2308 says; forgets what was used longest ago.</summary>
internal sealed class DnsCache(int maxEntries, TimeProvider time)
{
    // An error upstream is to be forgotten in a day, whatever it said; what there is not, in the three hours of RFC 2308 section 5.
    private const uint MaxTimeToLive = 24 * 60 * 60;
    private const uint MaxNegativeTimeToLive = 3 * 60 * 60;

    // So that entries many in number are not large, too.
    private const int MaxAnswerLength = 4096;
    private const int RecordOverhead = 150;
    private readonly Lock _gate = new();
    private readonly Dictionary<DnsCacheKey, LinkedListNode<Entry>> _entries = [];
    private readonly LinkedList<Entry> _byUse = new();

    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _entries.Count;
            }
        }
    }

    /// <summary>The answer, its times to live counted down; false when there is none, or none that still holds.</summary>
    public bool TryGet(DnsCacheKey key, [NotNullWhen(true)] out DnsAnswer? answer)
    {
        answer = null;
        Entry entry;
        uint age;
        lock (_gate)
        {
            if (!_entries.TryGetValue(key, out var node))
            {
                return false;
            }

            entry = node.Value;
            age = (uint)time.GetElapsedTime(entry.Since).TotalSeconds;
            _byUse.Remove(node);
            if (age >= entry.TimeToLive)
            {
                _entries.Remove(key);
                return false;
            }

            _byUse.AddFirst(node);
        }

        answer = entry.Answer with
        {
            Answers = Aged(entry.Answer.Answers, age),
            Authority = Aged(entry.Answer.Authority, age),
            Additional = Aged(entry.Answer.Additional, age),
        };
        return true;
    }

    /// <summary>Keeps an answer, if it may be kept.</summary>
    public void Add(DnsCacheKey key, DnsAnswer answer)
    {
        var timeToLive = TimeToLive(key.Question, answer);
        if (maxEntries == 0 || timeToLive == 0 || LengthOf(answer) > MaxAnswerLength)
        {
            return;
        }

        var node = new LinkedListNode<Entry>(new Entry(key, answer, time.GetTimestamp(), timeToLive));
        lock (_gate)
        {
            if (_entries.Remove(key, out var old))
            {
                _byUse.Remove(old);
            }

            if (_entries.Count == maxEntries)
            {
                _entries.Remove(_byUse.Last!.Value.Key);
                _byUse.RemoveLast();
            }

            _entries.Add(key, node);
            _byUse.AddFirst(node);
        }
    }

    /// <summary>For how many seconds an answer may be kept; 0 for not at all.</summary>
    public static uint TimeToLive(DnsQuestion question, DnsAnswer answer)
    {
        if (answer.Truncated || answer.Code is not (DnsResponseCode.NoError or DnsResponseCode.NxDomain))
        {
            return 0;
        }

        var records = answer.Answers.Concat(answer.Authority).Concat(answer.Additional);
        var least = records.Aggregate(MaxTimeToLive, (least, record) => Math.Min(least, Seconds(record.TimeToLive)));

        // Aliases alone are no answer: at their end there is nothing (RFC 2308 section 2.2).
        var isPositive = answer.Code is DnsResponseCode.NoError
            && answer.Answers.Any(record => record.Type == question.Type || question.Type is DnsRecordType.Any);
        if (isPositive)
        {
            return least;
        }

        // Without an SOA record nobody has said for how long there is nothing.
        return answer.Authority.FirstOrDefault(record => record.Type is DnsRecordType.Soa) is { } soa
            ? Math.Min(Math.Min(least, MaxNegativeTimeToLive), Seconds(BinaryPrimitives.ReadUInt32BigEndian(soa.Data.Span[^sizeof(uint)..])))
            : 0;
    }

    // What has the highest bit set is 0 (RFC 2181 section 8).
    private static uint Seconds(uint timeToLive) => timeToLive > int.MaxValue ? 0 : timeToLive;

    // With what the objects of a record take, which is more than its octets.
    private static int LengthOf(DnsAnswer answer) =>
        answer.Answers.Concat(answer.Authority).Concat(answer.Additional).Sum(record => RecordOverhead + record.Name.Wire.Length + record.Data.Length);

    private static ImmutableArray<DnsRecord> Aged(ImmutableArray<DnsRecord> records, uint age) =>
        age == 0 ? records : [.. records.Select(record => record with { TimeToLive = record.TimeToLive - age })];

    private sealed record Entry(DnsCacheKey Key, DnsAnswer Answer, long Since, uint TimeToLive);
}
