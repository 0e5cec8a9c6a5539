using System.Collections.Frozen;
using System.Diagnostics.Metrics;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>How a metric family is called in the text that Prometheus reads, without the suffixes of its samples.</summary>
internal static class MetricName
{
    // A name that ends in _count would be taken for part of a histogram.
    private static readonly FrozenDictionary<string, string> Renamed = new Dictionary<string, string>
    {
        ["dotnet.assembly.count"] = "dotnet_assemblies",
        ["dotnet.process.cpu.count"] = "dotnet_process_cpus",
        ["dotnet.thread_pool.thread.count"] = "dotnet_thread_pool_threads",
        ["dotnet.timer.count"] = "dotnet_timers",
    }.ToFrozenDictionary();

    /// <summary>Whether the runtime calls an instrument a counter whose value goes up and down.</summary>
    public static bool IsGaugeInTruth(Instrument instrument) => instrument.Name is "dotnet.thread_pool.thread.count" or "dotnet.thread_pool.queue.length";

    /// <summary>The name of an instrument's family: its own when it has no dots, otherwise made from it and from its unit.</summary>
    public static string Of(Instrument instrument)
    {
        if (!instrument.Name.Contains('.', StringComparison.Ordinal))
        {
            var own = Clean(instrument.Name);
            return own.EndsWith("_total", StringComparison.Ordinal) ? own[..^"_total".Length] : own;
        }

        if (Renamed.TryGetValue(instrument.Name, out var known))
        {
            return known;
        }

        var name = Clean(instrument.Name);
        return Unit(instrument.Unit) is { } unit && !name.EndsWith($"_{unit}", StringComparison.Ordinal) ? $"{name}_{unit}" : name;
    }

    /// <summary>A unit as names write it; null for none, and for annotations such as <c>{thread}</c>.</summary>
    public static string? Unit(string? unit) => unit switch
    {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        _ => null,
    };

    /// <summary>A text with what may not stand in the name of a metric or label replaced.</summary>
    public static string Clean(string name) =>
        name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_') && name.Length > 0 && !char.IsAsciiDigit(name[0])
            ? name
            : string.Concat(name.Select((c, i) => char.IsAsciiLetter(c) || (i > 0 && char.IsAsciiDigit(c)) ? c : '_'));
}
