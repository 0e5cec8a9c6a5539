using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Telemetry;

public sealed class LogLineFormatterTests
{
    private static readonly DateTimeOffset Time = new(2026, 2, 3, 4, 5, 6, 789, TimeSpan.Zero);

    [Fact]
    public void A_plain_line_has_tabs_between_its_parts_and_quotes_round_texts() => Assert.Equal(
        "2026-02-03T04:05:06.789000Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:80 src.workload=\"web\" bytes_sent=5\n",
        Format(LogFormat.Plain, ("src.addr", System.Net.IPEndPoint.Parse("10.0.0.1:80")), ("src.workload", "web"), ("bytes_sent", 5L)));

    [Fact]
    public void A_json_line_has_the_fields_beside_level_time_scope_and_message()
    {
        using var line = JsonDocument.Parse(Format(LogFormat.Json, ("src.workload", "web"), ("bytes_sent", 5L)));
        Assert.Equal(["level", "time", "scope", "message", "src.workload", "bytes_sent"], line.RootElement.EnumerateObject().Select(field => field.Name));
        Assert.Equal(5, line.RootElement.GetProperty("bytes_sent").GetInt64());
    }

    [Theory]
    [InlineData("two\nlines", "\"two\\nlines\"")]
    [InlineData("a \" quote", "\"a \\\" quote\"")]
    [InlineData("a \\ backslash", "\"a \\\\ backslash\"")]
    [InlineData("\u001b[31m", "\"\\u{1b}[31m\"")]
    public void What_came_from_outside_cannot_forge_a_line(string value, string shown) =>
        Assert.EndsWith($"\terror={shown}\n", Format(LogFormat.Plain, ("error", value)), StringComparison.Ordinal);

    private static string Format(LogFormat format, params (string Key, object? Value)[] fields) => LogLineFormatter.Format(
        format, Time, LogLevel.Information, "access", "connection complete", [.. fields.Select(field => KeyValuePair.Create(field.Key, field.Value))], error: null);
}
