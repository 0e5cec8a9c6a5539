using System.Buffers;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

/// <summary>How log lines look (ztunnel §10.3).</summary>
internal enum LogFormat
{
    /// <summary>Tab-separated text.</summary>
    Plain,

    /// <summary>One JSON object a line.</summary>
    Json,
}

/// <summary>Writes log lines in the formats of Istio's ztunnel. What came from outside is escaped, so that it cannot forge a line or a field.</summary>
internal static class LogLineFormatter
{
    private const string OriginalFormat = "{OriginalFormat}";
    private static readonly JsonWriterOptions JsonOptions = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string Format(
        LogFormat format, DateTimeOffset time, LogLevel level, string scope, string message, IReadOnlyList<KeyValuePair<string, object?>> fields, Exception? error) =>
        format is LogFormat.Json ? Json(time, level, scope, message, fields, error) : Plain(time, level, scope, message, fields, error);

    private static string Plain(
        DateTimeOffset time, LogLevel level, string scope, string message, IReadOnlyList<KeyValuePair<string, object?>> fields, Exception? error)
    {
        var line = new StringBuilder();
        line.Append(Timestamp(time)).Append('\t').Append(Word(level)).Append('\t').Append(scope).Append('\t');
        Escape(line, message, quote: false);
        var separator = '\t';
        foreach (var (key, value) in fields)
        {
            if (key is not OriginalFormat)
            {
                line.Append(separator).Append(key).Append('=');
                Value(line, value);
                separator = ' ';
            }
        }

        if (error is not null)
        {
            line.Append(separator).Append("exception=");
            Escape(line, error.ToString(), quote: true);
        }

        return line.Append('\n').ToString();
    }

    private static string Json(
        DateTimeOffset time, LogLevel level, string scope, string message, IReadOnlyList<KeyValuePair<string, object?>> fields, Exception? error)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, JsonOptions))
        {
            json.WriteStartObject();
            json.WriteString("level", Word(level));
            json.WriteString("time", Timestamp(time));
            json.WriteString("scope", scope);
            json.WriteString("message", message);
            foreach (var (key, value) in fields)
            {
                if (key is OriginalFormat)
                {
                    continue;
                }

                json.WritePropertyName(key);
                if (value is long or int)
                {
                    json.WriteNumberValue(Convert.ToInt64(value));
                }
                else
                {
                    json.WriteStringValue(value?.ToString());
                }
            }

            if (error is not null)
            {
                json.WriteString("exception", error.ToString());
            }

            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    private static string Timestamp(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'");

    private static string Word(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace",
        LogLevel.Debug => "debug",
        LogLevel.Information => "info",
        LogLevel.Warning => "warn",
        _ => "error",
    };

    private static void Value(StringBuilder line, object? value)
    {
        if (value is string text)
        {
            Escape(line, text, quote: true);
        }
        else
        {
            line.Append(value);
        }
    }

    private static void Escape(StringBuilder line, string text, bool quote)
    {
        if (quote)
        {
            line.Append('"');
        }

        foreach (var c in text)
        {
            _ = c switch
            {
                '\n' => line.Append("\\n"),
                '\r' => line.Append("\\r"),
                '\t' => line.Append("\\t"),
                '"' when quote => line.Append("\\\""),
                '\\' when quote => line.Append("\\\\"),
                _ when char.IsControl(c) => line.Append($"\\u{{{(int)c:x}}}"),
                _ => line.Append(c),
            };
        }

        if (quote)
        {
            line.Append('"');
        }
    }
}
