using System.Diagnostics.CodeAnalysis;

namespace Mesh.Core.Identity;

/// <summary>The root of trust that an identity belongs to: the authority part of a SPIFFE ID (SPIFFE-ID standard, section 2.1).</summary>
public sealed record TrustDomain
{
    /// <summary>The longest allowed name, in characters.</summary>
    public const int MaxLength = 255;

    /// <summary>Istio's default, <c>cluster.local</c>.</summary>
    public static readonly TrustDomain ClusterLocal = new("cluster.local");

    private TrustDomain(string name) => Name = name;

    /// <summary>The name, for example <c>cluster.local</c>.</summary>
    public string Name { get; }

    /// <summary>Reads a trust domain name: 1 to 255 of lower-case letters, digits, dots, dashes and underscores.</summary>
    /// <exception cref="FormatException">The name is not valid; the message says why.</exception>
    public static TrustDomain Parse(string name) =>
        TryParse(name, out var trustDomain, out var error) ? trustDomain : throw new FormatException(error);

    /// <summary>Reads a trust domain name, or says in <paramref name="error"/> what is wrong with it.</summary>
    public static bool TryParse(string? name, [NotNullWhen(true)] out TrustDomain? trustDomain, [NotNullWhen(false)] out string? error)
    {
        trustDomain = null;
        error = Validate(name);
        if (error is not null)
        {
            return false;
        }

        trustDomain = name == ClusterLocal.Name ? ClusterLocal : new TrustDomain(name!);
        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    private static string? Validate(string? name)
    {
        if (string.IsNullOrEmpty(name))
        {
            return "trust domain is empty; allowed are 1 to 255 of a-z, 0-9, '.', '-', '_'";
        }

        if (name.Length > MaxLength)
        {
            return $"trust domain has {name.Length} characters; at most {MaxLength} are allowed";
        }

        foreach (var c in name)
        {
            if (!(char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '.' or '-' or '_'))
            {
                return $"trust domain '{SpiffeId.Printable(name)}' contains '{SpiffeId.Printable(c.ToString())}'; allowed are a-z, 0-9, '.', '-', '_'";
            }
        }

        return null;
    }
}
