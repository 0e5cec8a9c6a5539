using System.IO.Pipelines;
using System.Text.Json;

namespace Mesh.Ztunnel.Admin;

/// <summary>Writes JSON in parts, so that a large mesh is not held twice.</summary>
internal abstract class JsonDump(PipeWriter output, bool isIndented = true)
{
    private const int Part = 64 * 1024;

    protected Utf8JsonWriter Json { get; } = new(output, new JsonWriterOptions { Indented = isIndented });

    /// <summary>Writes a member that is a list, one item after the other.</summary>
    protected async Task ListAsync<T>(string? name, IEnumerable<T> items, Action<T> write, CancellationToken cancellationToken)
    {
        if (name is null)
        {
            Json.WriteStartArray();
        }
        else
        {
            Json.WriteStartArray(name);
        }

        foreach (var item in items)
        {
            write(item);
            await FlushAsync(Part, cancellationToken);
        }

        Json.WriteEndArray();
    }

    protected async Task FlushAsync(int above, CancellationToken cancellationToken)
    {
        if (Json.BytesPending + output.UnflushedBytes > above)
        {
            await Json.FlushAsync(cancellationToken);
            await output.FlushAsync(cancellationToken);
        }
    }

    protected void Object(string? name, Action write)
    {
        if (name is null)
        {
            Json.WriteStartObject();
        }
        else
        {
            Json.WriteStartObject(name);
        }

        write();
        Json.WriteEndObject();
    }

    /// <summary>Writes a text; an empty one is left out.</summary>
    protected void Optional(string name, string? text)
    {
        if (text is { Length: > 0 })
        {
            Json.WriteString(name, text);
        }
    }

    /// <summary>Writes a list; an empty one is left out.</summary>
    protected void Optional<T>(string name, IReadOnlyCollection<T> items, Action<T> write)
    {
        if (items.Count > 0)
        {
            List(name, items, write);
        }
    }

    protected void List<T>(string name, IEnumerable<T> items, Action<T> write)
    {
        Json.WriteStartArray(name);
        foreach (var item in items)
        {
            write(item);
        }

        Json.WriteEndArray();
    }
}
