using System.Collections;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone;

/// <summary>The headers of a CONNECT request or of its response, without pseudo-headers. A name may stand several times.</summary>
public sealed class HboneHeaders : IEnumerable<KeyValuePair<string, string>>
{
    private readonly List<HeaderField> _fields;

    /// <summary>No headers, to add to.</summary>
    public HboneHeaders() => _fields = [];

    /// <summary>Of a message that has come; keeps the list, and takes the pseudo-headers out of it.</summary>
    internal HboneHeaders(List<HeaderField> fields)
    {
        fields.RemoveAll(static field => field.Name.StartsWith(':'));
        _fields = fields;
    }

    /// <summary>How many lines there are.</summary>
    public int Count => _fields.Count;

    internal IReadOnlyList<HeaderField> Fields => _fields;

    /// <summary>The first value of a header; null when it is absent. Names are lower-case in HTTP/2.</summary>
    public string? this[string name]
    {
        get
        {
            foreach (var field in _fields)
            {
                if (field.Name == name)
                {
                    return field.Value;
                }
            }

            return null;
        }
    }

    /// <summary>Adds a line.</summary>
    /// <exception cref="ArgumentException">The name is not a lower-case token, or the value contains a control character, or a blank at one of its ends (RFC 9113, section 8.2.1).</exception>
    public HboneHeaders Add(string name, string value)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(value);
        if (!IsName(name))
        {
            throw new ArgumentException($"'{name}' is not a header name; allowed are lower-case letters, digits and !#$%&'*+-.^_`|~", nameof(name));
        }

        if (!IsValue(value))
        {
            throw new ArgumentException($"the value of '{name}' contains a character that is not allowed: no control characters, no blanks at its ends, Latin-1 only", nameof(value));
        }

        _fields.Add(new HeaderField(name, value));
        return this;
    }

    /// <summary>All values of a header, in order.</summary>
    public IEnumerable<string> GetValues(string name)
    {
        foreach (var field in _fields)
        {
            if (field.Name == name)
            {
                yield return field.Value;
            }
        }
    }

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() =>
        _fields.Select(field => KeyValuePair.Create(field.Name, field.Value)).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    internal static bool IsName(string name)
    {
        foreach (var c in name)
        {
            if (!(char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || "!#$%&'*+-.^_`|~".Contains(c, StringComparison.Ordinal)))
            {
                return false;
            }
        }

        return name.Length > 0;
    }

    internal static bool IsValue(string value)
    {
        if (value.Length > 0 && (value[0] is ' ' or '\t' || value[^1] is ' ' or '\t'))
        {
            return false;
        }

        foreach (var c in value)
        {
            if (c is (< ' ' and not '\t') or '\x7F' or > '\xFF')
            {
                return false;
            }
        }

        return true;
    }
}
