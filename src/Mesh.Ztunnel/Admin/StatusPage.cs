using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;

namespace Mesh.Ztunnel.Admin;

/// <summary>The page for people: complete without its script, which then keeps it fresh, filters and sorts. All values are escaped: peers choose some of them.</summary>
internal static class StatusPage
{
    /// <summary>How many rows of a table are shown at a time; more would make the browser slow, and nobody reads them. The script has the same number.</summary>
    public const int MaxShown = 500;

    private static readonly string[] Units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

    public static string Write(ZtunnelOptions options, IReadOnlyList<StatusTable> tables)
    {
        var (version, _) = BuildVersion.Current;
        var title = options.NodeName is { Length: > 0 } node ? $"ztunnel on {node}" : options.Workloads is [var workload, ..] ? $"ztunnel of {workload}" : "ztunnel";
        var html = new StringBuilder(256 * 1024);
        html.Append($"""
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>{Escape(title)}</title>
            <link rel="icon" type="image/svg+xml" href="/page/icon.svg">
            <link rel="stylesheet" href="/page/page.css">
            <script src="/page/page.js" defer></script>
            </head>
            <body>
            <a class="skip" href="#connections">To the connections</a>
            <header>
            <h1>{Escape(title)}</h1>
            <p>Mesh {Escape(version)}, {(options.Mode is ProxyMode.Shared ? "shared" : "dedicated")} mode. <a href="/config_dump">Configuration</a>, <a href="/connections">connections</a> and <a href="/certificates">certificates</a> as JSON.</p>
            <form id="controls" hidden>
            <label for="filter">Filter all tables</label>
            <input id="filter" type="search" autocomplete="off" spellcheck="false">
            <label><input id="refresh" type="checkbox" checked> Refresh every 2 s</label>
            <span id="state" role="status"></span>
            </form>
            <nav aria-label="Tables"><ul>

            """);
        foreach (var table in tables)
        {
            html.Append($"<li><a href=\"#{table.Id}\">{Escape(table.Caption)}</a></li>\n");
        }

        html.Append("</ul></nav>\n</header>\n<main>\n");
        foreach (var table in tables)
        {
            Write(html, table);
        }

        return html.Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void Write(StringBuilder html, StatusTable table)
    {
        html.Append($"<section id=\"{table.Id}\" tabindex=\"-1\">\n<table>\n<caption><b>{Escape(table.Caption)}</b> <span class=\"total\">{table.Total}</span> <span class=\"more\">{More(table)}</span></caption>\n<thead><tr>");
        foreach (var column in table.Columns)
        {
            html.Append($"<th scope=\"col\" class=\"{column.CellClass}\" data-kind=\"{column.KindName}\"><button type=\"button\">{Escape(column.Title)}</button></th>");
        }

        html.Append("</tr></thead>\n<tbody>\n");
        foreach (var row in table.Rows.Take(MaxShown))
        {
            html.Append($"<tr data-key=\"{Escape(row.Key)}\">");
            for (var i = 0; i < table.Columns.Count; i++)
            {
                var column = table.Columns[i];
                var text = Escape(Text(column.Kind, row.Cells[i]));
                html.Append($"<td class=\"{column.CellClass}\"").Append(column.Kind is StatusColumnKind.Verdict ? $" data-verdict=\"{text}\">" : ">").Append(text).Append("</td>");
            }

            html.Append("</tr>\n");
        }

        html.Append("</tbody>\n</table>\n</section>\n");
    }

    private static string More(StatusTable table) => table.Total > MaxShown ? $"{MaxShown} shown, {table.Total - MaxShown} more" : "";

    // As the script writes them.
    private static string Text(StatusColumnKind kind, StatusCell cell) => cell.Number is not { } number ? cell.Text ?? "" : kind switch
    {
        StatusColumnKind.Octets => OctetsText(number),
        StatusColumnKind.Milliseconds => DurationText(number),
        StatusColumnKind.Time => DateTimeOffset.FromUnixTimeMilliseconds((long)number).ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture),
        _ => number.ToString(CultureInfo.InvariantCulture),
    };

    private static string OctetsText(double octets)
    {
        var unit = 0;
        for (; octets >= 1024 && unit < Units.Length - 1; unit++)
        {
            octets /= 1024;
        }

        return $"{octets.ToString(unit == 0 ? "0" : "0.0", CultureInfo.InvariantCulture)} {Units[unit]}";
    }

    private static string DurationText(double milliseconds)
    {
        var seconds = (long)(milliseconds / 1000);
        return seconds < 60 ? $"{seconds} s" : seconds < 3600 ? $"{seconds / 60} min {seconds % 60} s" : $"{seconds / 3600} h {seconds / 60 % 60} min";
    }

    private static string Escape(string text) => HtmlEncoder.Default.Encode(text);
}
