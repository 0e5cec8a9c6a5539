using System.Text.Json;
using System.Text.Json.Serialization;

namespace Mesh.Load;

/// <summary>Prints each workload as it is done, with the ratios that the project is judged by, and keeps the rows.</summary>
internal sealed class ResultTable
{
    public static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault };

    private readonly List<Row> _rows = [];

    public ResultTable() =>
        Console.WriteLine($"{"workload",-15} {"peer",-8} {"median",10} {"min",10} {"max",10}  {"unit",-14} {"vs best",8} {"CPU s",7} {"p50 us",8} {"p99 us",8} {"p99.9 us",9}");

    public IReadOnlyList<Row> Rows => _rows;

    public void Add(string workload, string unit, Dictionary<string, List<Sample>> samples)
    {
        var rows = samples.Select(pair => Row.Of(workload, pair.Key, unit, pair.Value)).ToArray();
        var others = rows.Where(row => row.Peer is "nginx" or "haproxy").Select(row => row.Median).ToArray();
        var smallerIsBetter = workload.StartsWith("idle", StringComparison.Ordinal);
        foreach (var row in rows)
        {
            // Beside the better of nginx and HAProxy.
            var best = others.Length == 0 ? 0 : smallerIsBetter ? others.Min() : others.Max();
            var ratio = best > 0 ? $"{row.Median / best:F2}x" : "";
            Console.WriteLine(
                $"{row.Workload,-15} {row.Peer,-8} {row.Median,10:F2} {row.Min,10:F2} {row.Max,10:F2}  {row.Unit,-14} {ratio,8} {Text(row.ProcessorSeconds, "F2"),7} {Text(row.P50, "F0"),8} {Text(row.P99, "F0"),8} {Text(row.P999, "F0"),9}");
            _rows.Add(row);
        }
    }

    private static string Text(double value, string format) => value == 0 ? "" : value.ToString(format, System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>One workload with one peer; medians over the repetitions. ProcessorSeconds are for a gigabyte of bulk, or for 100,000 exchanges.</summary>
    internal sealed record Row(
        string Workload,
        string Peer,
        string Unit,
        double Median,
        double Min,
        double Max,
        double ProcessorSeconds,
        double P50,
        double P99,
        [property: JsonPropertyName("p99.9")] double P999)
    {
        public static Row Of(string workload, string peer, string unit, List<Sample> samples) => new(
            workload, peer, unit, MedianOf(samples, s => s.Value), samples.Min(s => s.Value), samples.Max(s => s.Value),
            MedianOf(samples, s => s.ProcessorSeconds), MedianOf(samples, s => s.P50), MedianOf(samples, s => s.P99), MedianOf(samples, s => s.P999));

        private static double MedianOf(List<Sample> samples, Func<Sample, double> value) => samples.Select(value).Order().ElementAt(samples.Count / 2);
    }
}
