using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>The name of a workload: <c>spiffe://TRUST_DOMAIN/PATH</c> (SPIFFE-ID standard, section 2).</summary>
/// <remarks>Two IDs are equal when their text is. Istio's shape of the path has typed parts: <see cref="Namespace"/> and <see cref="ServiceAccount"/>.</remarks>
public sealed class SpiffeId : IEquatable<SpiffeId>
{
    /// <summary>The longest allowed ID, in bytes (SPIFFE-ID standard, section 2.3).</summary>
    public const int MaxLength = 2048;

    private const string Scheme = "spiffe://";

    // Of service accounts, made last: a proxy asks for the same few with every connection. A power of two.
    private const int MaxRecent = 256;
    private static readonly SpiffeId?[] Recent = new SpiffeId?[MaxRecent];
    private readonly string _text;

    private SpiffeId(string text, TrustDomain trustDomain, string? @namespace, string? serviceAccount)
    {
        _text = text;
        TrustDomain = trustDomain;
        Namespace = @namespace;
        ServiceAccount = serviceAccount;
    }

    /// <summary>The trust domain that vouches for the ID.</summary>
    public TrustDomain TrustDomain { get; }

    /// <summary>The path with its leading slash; empty when the ID names the trust domain itself.</summary>
    public string Path => _text[(Scheme.Length + TrustDomain.Name.Length)..];

    /// <summary>The Kubernetes namespace, when the path is <c>/ns/NAMESPACE/sa/SERVICE_ACCOUNT</c>; otherwise null.</summary>
    public string? Namespace { get; }

    /// <summary>The Kubernetes service account, when the path is <c>/ns/NAMESPACE/sa/SERVICE_ACCOUNT</c>; otherwise null.</summary>
    public string? ServiceAccount { get; }

    /// <summary>The ID without <c>spiffe://</c>: what authorization policies call a principal (ztunnel §9.3). Allocates nothing.</summary>
    public ReadOnlySpan<char> Principal => _text.AsSpan(Scheme.Length);

    internal ReadOnlySpan<char> PathSpan => _text.AsSpan(Scheme.Length + TrustDomain.Name.Length);

    /// <summary>Makes the ID that Istio gives to a Kubernetes service account.</summary>
    /// <exception cref="FormatException">A part is not a valid path segment; the message names it.</exception>
    public static SpiffeId ForServiceAccount(TrustDomain trustDomain, string @namespace, string serviceAccount)
    {
        ArgumentNullException.ThrowIfNull(trustDomain);
        ref var recent = ref Recent[HashCode.Combine(trustDomain.Name, @namespace, serviceAccount) & (MaxRecent - 1)];
        if (Volatile.Read(ref recent) is { } known && known.TrustDomain == trustDomain && known.Namespace == @namespace && known.ServiceAccount == serviceAccount)
        {
            return known;
        }

        var id = Parse($"{Scheme}{trustDomain.Name}/ns/{@namespace}/sa/{serviceAccount}");
        if (id.Namespace != @namespace || id.ServiceAccount != serviceAccount)
        {
            throw new FormatException($"namespace '{Printable(@namespace)}' and service account '{Printable(serviceAccount)}' are to be one path segment each, without '/'");
        }

        Volatile.Write(ref recent, id);
        return id;
    }

    /// <summary>Reads an ID strictly by the SPIFFE-ID standard.</summary>
    /// <exception cref="FormatException">The text is not a SPIFFE ID; the message says why.</exception>
    public static SpiffeId Parse(string text) =>
        TryParse(text, out var id, out var error) ? id : throw new FormatException(error);

    /// <summary>Reads an ID strictly by the SPIFFE-ID standard, or says in <paramref name="error"/> which rule failed.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out SpiffeId? id, [NotNullWhen(false)] out string? error)
    {
        id = null;
        error = null;
        if (text is null || !text.StartsWith(Scheme, StringComparison.Ordinal))
        {
            error = $"'{Printable(text)}' does not begin with {Scheme}";
            return false;
        }

        if (text.Length > MaxLength)
        {
            error = $"SPIFFE ID has {text.Length} characters; at most {MaxLength} are allowed";
            return false;
        }

        var pathStart = text.IndexOf('/', Scheme.Length);
        var authority = pathStart < 0 ? text[Scheme.Length..] : text[Scheme.Length..pathStart];
        if (!TrustDomain.TryParse(authority, out var trustDomain, out var trustDomainError))
        {
            error = $"SPIFFE ID '{Printable(text)}': {trustDomainError}";
            return false;
        }

        var path = pathStart < 0 ? default : text.AsSpan(pathStart);
        if (PathError(path) is { } pathError)
        {
            error = $"SPIFFE ID '{Printable(text)}': {pathError}";
            return false;
        }

        var (ns, serviceAccount) = IstioParts(path);
        id = new SpiffeId(text, trustDomain, ns, serviceAccount);
        return true;
    }

    /// <summary>The same path in another trust domain. A name to compare with, which no certificate need have: it may be longer than <see cref="MaxLength"/>.</summary>
    internal SpiffeId In(TrustDomain trustDomain) => new($"{Scheme}{trustDomain.Name}{PathSpan}", trustDomain, Namespace, ServiceAccount);

    /// <summary>Reads the ID of a certificate, which must have exactly one URI name (X.509-SVID standard, section 2). Whether the certificate is good is another question.</summary>
    public static bool TryRead(X509Certificate2 certificate, [NotNullWhen(true)] out SpiffeId? id, [NotNullWhen(false)] out string? error)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        return UriSan.TryGetSpiffeId(certificate, out id, out error);
    }

    /// <inheritdoc/>
    public bool Equals(SpiffeId? other) => other is not null && string.Equals(_text, other._text, StringComparison.Ordinal);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as SpiffeId);

    /// <inheritdoc/>
    public override int GetHashCode() => _text.GetHashCode(StringComparison.Ordinal);

    /// <summary>The whole ID, with <c>spiffe://</c>.</summary>
    public override string ToString() => _text;

    /// <summary>Whether two IDs are the same text.</summary>
    public static bool operator ==(SpiffeId? left, SpiffeId? right) => left is null ? right is null : left.Equals(right);

    /// <summary>Whether two IDs differ.</summary>
    public static bool operator !=(SpiffeId? left, SpiffeId? right) => !(left == right);

    // Text from a certificate goes into log lines: no control characters, no flood.
    internal static string Printable(string? text)
    {
        if (text is null)
        {
            return "(none)";
        }

        const int Shown = 256;
        var cut = text.Length > Shown ? text[..Shown] + "…" : text;
        return cut.AsSpan().ContainsAnyExceptInRange(' ', '~')
            ? string.Create(cut.Length, cut, static (span, source) =>
            {
                for (var i = 0; i < span.Length; i++)
                {
                    span[i] = source[i] is >= ' ' and <= '~' or '…' ? source[i] : '?';
                }
            })
            : cut;
    }

    private static string? PathError(ReadOnlySpan<char> path)
    {
        if (path.IsEmpty)
        {
            return null;
        }

        foreach (var range in path[1..].Split('/'))
        {
            var segment = path[1..][range];
            if (segment.IsEmpty)
            {
                return "the path has an empty segment or a trailing slash";
            }

            if (segment is "." or "..")
            {
                return $"the path has the relative segment '{segment}'";
            }

            foreach (var c in segment)
            {
                if (!(char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_'))
                {
                    return $"the path contains '{Printable(c.ToString())}'; allowed are letters, digits, '.', '-', '_'";
                }
            }
        }

        return null;
    }

    private static (string? Namespace, string? ServiceAccount) IstioParts(ReadOnlySpan<char> path)
    {
        Span<Range> parts = stackalloc Range[6];
        return path.Split(parts, '/') == 5 && path[parts[1]] is "ns" && path[parts[3]] is "sa"
            ? (path[parts[2]].ToString(), path[parts[4]].ToString())
            : (null, null);
    }
}
