using System.IO.Pipelines;

namespace Mesh.Ztunnel.Admin;

/// <summary>The rows of the page's tables as JSON, for its script: each row is its key and its cells.</summary>
internal sealed class StatusDump(AdminContext context, PipeWriter output) : JsonDump(output, isIndented: false)
{
    public async Task WriteAsync(IReadOnlyList<StatusTable> tables, CancellationToken cancellationToken)
    {
        Json.WriteStartObject();
        Json.WriteNumber("time", context.Time.GetUtcNow().ToUnixTimeMilliseconds());
        Json.WriteStartObject("tables");
        foreach (var table in tables)
        {
            Json.WriteStartObject(table.Id);
            Json.WriteNumber("total", table.Total);
            await ListAsync("rows", table.Rows, Row, cancellationToken);
            Json.WriteEndObject();
        }

        Json.WriteEndObject();
        Json.WriteEndObject();
        await FlushAsync(0, cancellationToken);
    }

    private void Row(StatusRow row)
    {
        Json.WriteStartArray();
        Json.WriteStringValue(row.Key);
        foreach (var cell in row.Cells)
        {
            if (cell.Number is { } number)
            {
                Json.WriteNumberValue(Math.Round(number));
            }
            else
            {
                Json.WriteStringValue(cell.Text ?? "");
            }
        }

        Json.WriteEndArray();
    }
}
