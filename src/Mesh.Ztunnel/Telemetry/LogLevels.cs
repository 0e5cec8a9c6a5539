using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>What is logged, in the words of RUST_LOG: <c>info</c>, or <c>warn,access=debug</c>. Can be changed while the program runs. Thread-safe.</summary>
internal sealed class LogLevels
{
    /// <summary>What a text may hold.</summary>
    public const string Allowed = "error, warn, info, debug, trace, off, each alone or as target=level";

    private readonly Lock _writer = new();
    private Rules _initial = new([]);
    private Rules _current = new([]);

    /// <summary>Reads one entry: <c>level</c> or <c>target=level</c>. The target is empty for all.</summary>
    public static bool TryParse(string entry, out KeyValuePair<string, LogLevel> rule)
    {
        var equals = entry.IndexOf('=', StringComparison.Ordinal);
        LogLevel? level = entry[(equals + 1)..].Trim().ToLowerInvariant() switch
        {
            "trace" => LogLevel.Trace,
            "debug" => LogLevel.Debug,
            "info" => LogLevel.Information,
            "warn" => LogLevel.Warning,
            "error" => LogLevel.Error,
            "off" => LogLevel.None,
            _ => null,
        };
        rule = KeyValuePair.Create(equals < 0 ? "" : entry[..equals].Trim(), level ?? LogLevel.None);
        return level is not null && equals != 0;
    }

    /// <summary>Reads entries with commas between them. False when one of them cannot be read.</summary>
    public static bool TryParse(string text, [NotNullWhen(true)] out IReadOnlyList<KeyValuePair<string, LogLevel>>? rules)
    {
        var read = new List<KeyValuePair<string, LogLevel>>();
        foreach (var entry in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (!TryParse(entry, out KeyValuePair<string, LogLevel> rule))
            {
                rules = null;
                return false;
            }

            read.Add(rule);
        }

        rules = read;
        return read.Count > 0;
    }

    /// <summary>Sets what a reset comes back to.</summary>
    public void Initialize(IEnumerable<KeyValuePair<string, LogLevel>> rules)
    {
        lock (_writer)
        {
            _initial = new Rules([]).With(rules);
            Volatile.Write(ref _current, _initial);
        }
    }

    /// <summary>Adds rules; one for a target that has a rule already takes its place.</summary>
    public void Merge(IEnumerable<KeyValuePair<string, LogLevel>> rules)
    {
        lock (_writer)
        {
            Volatile.Write(ref _current, _current.With(rules));
        }
    }

    /// <summary>Comes back to what was set at start.</summary>
    public void Reset()
    {
        lock (_writer)
        {
            Volatile.Write(ref _current, _initial);
        }
    }

    /// <summary>Whether a line of a category is to be written.</summary>
    public bool IsLogged(string category, LogLevel level) => level >= Volatile.Read(ref _current).MinimumOf(category);

    /// <summary>The rules, as RUST_LOG writes them.</summary>
    public override string ToString() => Volatile.Read(ref _current).ToString();

    private sealed class Rules(ImmutableArray<KeyValuePair<string, LogLevel>> rules)
    {
        // Categories are names of types, so there are as many as there are.
        private readonly ConcurrentDictionary<string, LogLevel> _minimums = new();

        public LogLevel MinimumOf(string category) => _minimums.GetOrAdd(category, static (category, rules) => rules.Find(category), this);

        public Rules With(IEnumerable<KeyValuePair<string, LogLevel>> added)
        {
            var merged = rules;
            foreach (var rule in added)
            {
                merged = merged.RemoveAll(old => old.Key.Equals(rule.Key, StringComparison.OrdinalIgnoreCase)).Add(rule);
            }

            return new Rules(merged);
        }

        public override string ToString() => rules.All(rule => rule.Key.Length > 0)
            ? string.Join(',', rules.Select(Text).Prepend("info"))
            : string.Join(',', rules.Select(Text));

        private LogLevel Find(string category)
        {
            var minimum = LogLevel.Information;
            var longest = -1;
            foreach (var (target, level) in rules)
            {
                if (target.Length > longest && category.Contains(target, StringComparison.OrdinalIgnoreCase))
                {
                    minimum = level;
                    longest = target.Length;
                }
            }

            // The host tells of a failed start with a stack trace, the program with a sentence.
            if (category.StartsWith("Microsoft.Extensions.Hosting", StringComparison.Ordinal))
            {
                return LogLevel.None + 1;
            }

            // The web server's own lines are of no interest to those who run a proxy.
            return category.StartsWith("Microsoft.", StringComparison.Ordinal) && minimum < LogLevel.Warning ? LogLevel.Warning : minimum;
        }

        private static string Text(KeyValuePair<string, LogLevel> rule)
        {
            var level = rule.Value switch
            {
                LogLevel.Trace => "trace",
                LogLevel.Debug => "debug",
                LogLevel.Information => "info",
                LogLevel.Warning => "warn",
                LogLevel.Error => "error",
                _ => "off",
            };
            return rule.Key.Length > 0 ? $"{rule.Key}={level}" : level;
        }
    }
}
