using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>The two forms of the text, which differ in the lines that describe a family.</summary>
internal enum ExpositionFormat
{
    /// <summary>Prometheus text: a counter is described under the name that its samples have.</summary>
    Prometheus,

    /// <summary>OpenMetrics 1.0: a counter is described without <c>_total</c>.</summary>
    OpenMetrics,
}

/// <summary>Writes families and samples in one of the two forms; knows how to escape, and nothing of what is measured.</summary>
internal sealed class ExpositionWriter(IBufferWriter<byte> output, ExpositionFormat format)
{
    private static readonly SearchValues<char> Escaped = SearchValues.Create("\\\"\n");

    /// <summary>The lines before a family's samples.</summary>
    public void Family(string name, MetricType type, string help, string? unit)
    {
        var isOpenMetrics = format is ExpositionFormat.OpenMetrics;
        var described = type is MetricType.Counter && !isOpenMetrics ? $"{name}_total" : name;
        Line("# HELP ", described, Escape(help, quotes: isOpenMetrics));
        Line("# TYPE ", described, type switch { MetricType.Counter => "counter", MetricType.Histogram => "histogram", _ => "gauge" });
        if (isOpenMetrics && unit is not null && name.EndsWith($"_{unit}", StringComparison.Ordinal))
        {
            Line("# UNIT ", described, unit);
        }
    }

    public void Sample(string name, string suffix, ReadOnlySpan<KeyValuePair<string, object?>> labels, long value)
    {
        Name(name, suffix, labels, bound: null);
        var span = output.GetSpan(20);
        Utf8Formatter.TryFormat(value, span, out var written);
        output.Advance(written);
        output.Write("\n"u8);
    }

    public void Sample(string name, string suffix, ReadOnlySpan<KeyValuePair<string, object?>> labels, double value)
    {
        Name(name, suffix, labels, bound: null);
        Text(Number(value));
        output.Write("\n"u8);
    }

    /// <summary>How many measurements of a histogram were not above a bound.</summary>
    public void Bucket(string name, ReadOnlySpan<KeyValuePair<string, object?>> labels, double bound, long count)
    {
        // The bound is a number to OpenMetrics and a text to Prometheus.
        var text = Number(bound);
        Name(name, "_bucket", labels, format is ExpositionFormat.OpenMetrics && text.All(char.IsAsciiDigit) ? $"{text}.0" : text);
        Text(count.ToString(CultureInfo.InvariantCulture));
        output.Write("\n"u8);
    }

    /// <summary>The end: who does not read it has not read all.</summary>
    public void End() => output.Write("# EOF\n"u8);

    private void Line(string keyword, string name, string text)
    {
        Text(keyword);
        Text(name);
        output.Write(" "u8);
        Text(text);
        output.Write("\n"u8);
    }

    private void Name(string name, string suffix, ReadOnlySpan<KeyValuePair<string, object?>> labels, string? bound)
    {
        Text(name);
        Text(suffix);
        if (labels.Length > 0 || bound is not null)
        {
            output.Write("{"u8);
            for (var i = 0; i < labels.Length; i++)
            {
                Label(i > 0, MetricName.Clean(labels[i].Key), labels[i].Value as string ?? Convert.ToString(labels[i].Value, CultureInfo.InvariantCulture) ?? "");
            }

            if (bound is not null)
            {
                Label(labels.Length > 0, "le", bound);
            }

            output.Write("}"u8);
        }

        output.Write(" "u8);
    }

    private void Label(bool hasOthers, string name, string value)
    {
        if (hasOthers)
        {
            output.Write(","u8);
        }

        Text(name);
        output.Write("=\""u8);
        Text(Escape(value, quotes: true));
        output.Write("\""u8);
    }

    private static string Escape(string text, bool quotes)
    {
        if (!text.AsSpan().ContainsAny(Escaped))
        {
            return text;
        }

        var escaped = text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
        return quotes ? escaped.Replace("\"", "\\\"", StringComparison.Ordinal) : escaped;
    }

    private static string Number(double value) =>
        double.IsPositiveInfinity(value) ? "+Inf" : double.IsNegativeInfinity(value) ? "-Inf" : value.ToString("R", CultureInfo.InvariantCulture);

    private void Text(string text) => Encoding.UTF8.GetBytes(text, output);
}
