namespace Mesh.Ztunnel.Admin;

/// <summary>How the cells of a column are written.</summary>
internal enum StatusColumnKind
{
    Text,
    Word,
    Verdict,
    Count,
    Octets,
    OctetsPerSecond,
    Milliseconds,
    Time,
}

/// <summary>A column of the page.</summary>
internal sealed record StatusColumn(string Title, StatusColumnKind Kind = StatusColumnKind.Text)
{
    /// <summary>What the page's script and style know the kind by.</summary>
    public string KindName => Kind switch
    {
        StatusColumnKind.Word => "word",
        StatusColumnKind.Verdict => "verdict",
        StatusColumnKind.Count => "count",
        StatusColumnKind.Octets => "octets",
        StatusColumnKind.OctetsPerSecond => "rate",
        StatusColumnKind.Milliseconds => "ms",
        StatusColumnKind.Time => "time",
        _ => "text",
    };

    /// <summary>How the style knows its cells: numbers stand to the right, words are not broken.</summary>
    public string CellClass => Kind switch { StatusColumnKind.Text => "text", StatusColumnKind.Word or StatusColumnKind.Verdict => "word", _ => "number" };
}

/// <summary>A cell: a text or a number; neither when nothing is known.</summary>
internal readonly record struct StatusCell(string? Text, double? Number)
{
    public static implicit operator StatusCell(string? text) => new(text, null);

    public static implicit operator StatusCell(double number) => new(null, number);

    public static implicit operator StatusCell(DateTimeOffset? moment) => new(null, moment?.ToUnixTimeMilliseconds());
}

/// <summary>A row: what it is told from others by while it changes, and its cells.</summary>
internal sealed record StatusRow(string Key, params StatusCell[] Cells);

/// <summary>A table of the page, to be written as HTML at first and as JSON from then on.</summary>
/// <param name="Id">The name of its section.</param>
/// <param name="Caption">What it shows.</param>
/// <param name="Columns">Its columns.</param>
/// <param name="Total">How many rows there are; more than are given when there are too many.</param>
/// <param name="Rows">Its rows.</param>
internal sealed record StatusTable(string Id, string Caption, IReadOnlyList<StatusColumn> Columns, int Total, IReadOnlyList<StatusRow> Rows);
