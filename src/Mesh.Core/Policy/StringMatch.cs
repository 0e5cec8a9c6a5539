namespace Mesh.Core.Policy;

/// <summary>How a <see cref="StringMatch"/> compares.</summary>
public enum StringMatchKind
{
    /// <summary>The whole text is equal.</summary>
    Exact = 0,

    /// <summary>The text begins with the value.</summary>
    Prefix = 1,

    /// <summary>The text ends with the value.</summary>
    Suffix = 2,

    /// <summary>The text is not empty.</summary>
    Presence = 3,
}

/// <summary>A comparison with a text, case-sensitive (ztunnel §9.3).</summary>
public readonly record struct StringMatch
{
    private StringMatch(StringMatchKind kind, string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        Kind = kind;
        Value = value;
    }

    /// <summary>How it compares.</summary>
    public StringMatchKind Kind { get; }

    /// <summary>What it compares with; empty for <see cref="StringMatchKind.Presence"/>.</summary>
    public string Value { get; }

    /// <summary>Matches any text that is not empty.</summary>
    public static StringMatch Presence { get; } = new(StringMatchKind.Presence, "");

    /// <summary>Matches one text.</summary>
    public static StringMatch Exact(string value) => new(StringMatchKind.Exact, value);

    /// <summary>Matches what begins with the value.</summary>
    public static StringMatch Prefix(string value) => new(StringMatchKind.Prefix, value);

    /// <summary>Matches what ends with the value.</summary>
    public static StringMatch Suffix(string value) => new(StringMatchKind.Suffix, value);

    /// <summary>Whether the text matches. Allocates nothing.</summary>
    public bool Matches(ReadOnlySpan<char> text) => Kind switch
    {
        StringMatchKind.Exact => text.SequenceEqual(Value),
        StringMatchKind.Prefix => text.StartsWith(Value, StringComparison.Ordinal),
        StringMatchKind.Suffix => text.EndsWith(Value, StringComparison.Ordinal),
        _ => !text.IsEmpty,
    };

    /// <summary>The comparison in words, as Istio writes it: <c>web</c>, <c>web*</c>, <c>*web</c>, <c>*</c>.</summary>
    public override string ToString() => Kind switch
    {
        StringMatchKind.Exact => Value,
        StringMatchKind.Prefix => $"{Value}*",
        StringMatchKind.Suffix => $"*{Value}",
        _ => "*",
    };
}
