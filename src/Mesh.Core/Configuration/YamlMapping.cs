using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using YamlDotNet.RepresentationModel;

namespace Mesh.Core.Configuration;

/// <summary>Collects the faults of one file.</summary>
internal sealed class YamlFaults(string file)
{
    // A file that is wrong from end to end needs no list of a hundred thousand lines.
    private const int MaxKept = 100;
    private readonly List<ConfigurationDiagnostic> _kept = [];
    private int _count;

    public bool Any => _count > 0;

    public void Add(YamlNode node, string message) => Add(node.Start.Line, node.Start.Column, message);

    public void Add(long line, long column, string message)
    {
        _count++;
        if (_kept.Count < MaxKept)
        {
            _kept.Add(new ConfigurationDiagnostic(file, line, column, message));
        }
    }

    public ConfigurationException ToException()
    {
        var ordered = _kept.OrderBy(diagnostic => (diagnostic.Line, diagnostic.Column)).ToImmutableArray();
        return new ConfigurationException(
            _count > MaxKept ? ordered.Add(new ConfigurationDiagnostic(file, 1, 1, $"{_count - MaxKept} further faults are not listed")) : ordered);
    }
}

/// <summary>A YAML mapping that is read field by field. What is not asked for is unknown, and <see cref="End"/> says so.</summary>
internal sealed class YamlMapping
{
    private readonly Dictionary<string, (YamlNode Key, YamlNode Value)> _fields = [];
    private readonly SortedSet<string> _asked = new(StringComparer.Ordinal);
    private readonly YamlFaults _faults;
    private readonly string _what;

    private YamlMapping(YamlMappingNode node, string what, YamlFaults faults)
    {
        Node = node;
        _what = what;
        _faults = faults;
        foreach (var (key, value) in node.Children)
        {
            if (key is YamlScalarNode { Value: { } name })
            {
                _fields[name] = (key, value);
            }
            else
            {
                faults.Add(key, $"{what} has a field whose name is not a text");
            }
        }
    }

    public YamlMappingNode Node { get; }

    public static YamlMapping? Of(YamlNode node, string what, YamlFaults faults)
    {
        if (node is YamlMappingNode mapping)
        {
            return new YamlMapping(mapping, what, faults);
        }

        faults.Add(node, $"{what} must be a mapping of fields, but is {Kind(node)}");
        return null;
    }

    /// <summary>The field's node; null when it is absent or empty.</summary>
    public YamlNode? Field(string name, bool required = false)
    {
        _asked.Add(name);
        if (_fields.TryGetValue(name, out var field) && !IsNull(field.Value))
        {
            return field.Value;
        }

        if (required)
        {
            _faults.Add(Node, $"{_what} has no field '{name}', which is required");
        }

        return null;
    }

    public string Text(string name, string fallback = "", bool required = false) =>
        Field(name, required) is { } node ? Text(node, $"'{name}'") ?? fallback : fallback;

    public bool Flag(string name, bool fallback = false, bool required = false)
    {
        if (Field(name, required) is not { } node || Text(node, $"'{name}'") is not { } text)
        {
            return fallback;
        }

        if (text is "true" or "false")
        {
            return text is "true";
        }

        _faults.Add(node, $"'{name}' is '{text}'; allowed are true and false");
        return fallback;
    }

    public T? Number<T>(string name, T min, T max)
        where T : struct, System.Numerics.IBinaryInteger<T> => Field(name) is { } node ? Number(node, $"'{name}'", min, max) : null;

    /// <summary>One of a set of words, in any case of letters.</summary>
    public T Choice<T>(string name, T fallback, IReadOnlyList<(string Word, T Value)> choices, bool required = false) =>
        Field(name, required) is { } node ? Choice(node, $"'{name}'", fallback, choices) : fallback;

    public T Choice<T>(YamlNode node, string what, T fallback, IReadOnlyList<(string Word, T Value)> choices)
    {
        if (Text(node, what) is not { } text)
        {
            return fallback;
        }

        foreach (var (word, value) in choices)
        {
            if (word.Equals(text, StringComparison.OrdinalIgnoreCase))
            {
                return value;
            }
        }

        _faults.Add(node, $"{what} is '{text}'; allowed are {string.Join(", ", choices.Select(choice => choice.Word))}");
        return fallback;
    }

    /// <summary>A list; entries that are wrong are reported by <paramref name="read"/>, which returns null for them.</summary>
    public ImmutableArray<T> List<T>(string name, Func<YamlNode, T?> read, bool required = false)
        where T : class => Field(name, required) is { } node ? Items(node, $"'{name}'", _faults, read) : [];

    /// <summary>A list of values, as <c>List</c> is one of objects.</summary>
    public ImmutableArray<T> Values<T>(string name, Func<YamlNode, T?> read, bool required = false)
        where T : struct => [.. List(name, node => read(node) is { } value ? (object)value : null, required).Cast<T>()];

    /// <summary>A mapping from port to port.</summary>
    public IEnumerable<KeyValuePair<int, int>> Ports(string name, bool required = false) =>
        Field(name, required) is { } node ? Ports(node, $"'{name}'") : [];

    public IEnumerable<KeyValuePair<int, int>> Ports(YamlNode node, string what)
    {
        if (node is not YamlMappingNode mapping)
        {
            _faults.Add(node, $"{what} must be a mapping from service port to target port, but is {Kind(node)}");
            return [];
        }

        var ports = new Dictionary<int, int>();
        foreach (var (key, value) in mapping.Children)
        {
            if (Number(key, $"a service port of {what}", 1, IPEndPoint.MaxPort) is { } port && Number(value, $"the target of port {port} of {what}", 0, IPEndPoint.MaxPort) is { } target)
            {
                ports[port] = target;
            }
        }

        return ports;
    }

    public string? Text(YamlNode node, string what)
    {
        if (node is YamlScalarNode { Value: { } text })
        {
            return text;
        }

        _faults.Add(node, $"{what} must be a text, but is {Kind(node)}");
        return null;
    }

    public T? Number<T>(YamlNode node, string what, T min, T max)
        where T : struct, System.Numerics.IBinaryInteger<T>
    {
        if (Text(node, what) is not { } text)
        {
            return null;
        }

        if (T.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= min && number <= max)
        {
            return number;
        }

        _faults.Add(node, $"{what} is '{text}'; allowed are whole numbers from {min} to {max}");
        return null;
    }

    public TimeSpan? Duration(string name, TimeSpan min, TimeSpan max)
    {
        if (Field(name) is not { } node || Text(node, $"'{name}'") is not { } text)
        {
            return null;
        }

        if (DurationText.TryParse(text, out var duration) && duration >= min && duration <= max)
        {
            return duration;
        }

        _faults.Add(node, $"'{name}' is '{text}'; allowed are durations like 500ms, 30s, 1m30s, from {min} to {max}");
        return null;
    }

    /// <summary>Reports the fields that nobody asked for.</summary>
    /// <param name="extensions">Whether fields that begin with <c>x-</c> belong to others and are passed over.</param>
    public void End(bool extensions = false)
    {
        foreach (var (name, field) in _fields)
        {
            if (!_asked.Contains(name) && !(extensions && name.StartsWith("x-", StringComparison.Ordinal)))
            {
                _faults.Add(field.Key, $"{_what} has an unknown field '{name}'; allowed are {string.Join(", ", _asked)}");
            }
        }
    }

    public static ImmutableArray<T> Items<T>(YamlNode node, string what, YamlFaults faults, Func<YamlNode, T?> read)
        where T : class
    {
        if (node is not YamlSequenceNode sequence)
        {
            faults.Add(node, $"{what} must be a list, but is {Kind(node)}");
            return [];
        }

        var items = ImmutableArray.CreateBuilder<T>(sequence.Children.Count);
        foreach (var child in sequence.Children)
        {
            if (read(child) is { } item)
            {
                items.Add(item);
            }
        }

        return items.DrainToImmutable();
    }

    private static bool IsNull(YamlNode node) =>
        node is YamlScalarNode { Style: YamlDotNet.Core.ScalarStyle.Plain or YamlDotNet.Core.ScalarStyle.Any, Value: "" or "~" or "null" or null } && node.Tag.IsEmpty;

    private static string Kind(YamlNode node) => node switch
    {
        YamlMappingNode => "a mapping",
        YamlSequenceNode => "a list",
        _ when IsNull(node) => "empty",
        YamlScalarNode scalar => $"the text '{scalar.Value}'",
        _ => "something else",
    };
}
