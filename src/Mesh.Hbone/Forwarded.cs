using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Hbone;

/// <summary>For whom a tunnel was opened, and to which service: the <c>forwarded</c> header (RFC 7239; ztunnel §2.3, §2.4).</summary>
/// <param name="For">The client's address as it was written; never to be trusted as one. Null when absent.</param>
/// <param name="Host">The host name of the service addressed; null when absent.</param>
public sealed record Forwarded(string? For, string? Host)
{
    /// <summary>The header's name.</summary>
    public const string HeaderName = "forwarded";

    /// <summary>The name of the header by which the inner request of double HBONE names the network of the client (ztunnel §2.3).</summary>
    public const string NetworkHeaderName = "x-forwarded-network";

    /// <summary>Describes a client and the service that it addressed.</summary>
    /// <param name="client">The client's address.</param>
    /// <param name="host">The host name of the service; null when none was addressed.</param>
    public static Forwarded Of(IPEndPoint client, string? host) => new(NetworkAddress.Canonical(client).ToString(), host);

    /// <summary>Reads the header's first element; null when it is absent or holds neither parameter. Never fails.</summary>
    public static Forwarded? Parse(string? value)
    {
        if (value is null || value.AsSpan().ContainsAnyExceptInRange(' ', '~'))
        {
            return null;
        }

        string? @for = null;
        string? host = null;
        var element = FirstElement(value);
        foreach (var range in element.Split(';'))
        {
            var pair = element[range];
            var equals = pair.IndexOf('=');
            if (equals < 0)
            {
                continue;
            }

            var name = pair[..equals].Trim();
            var text = pair[(equals + 1)..].Trim().Trim('"').ToString();
            if (name.Equals("for", StringComparison.OrdinalIgnoreCase))
            {
                @for = NullIfEmpty(text);
            }
            else if (name.Equals("host", StringComparison.OrdinalIgnoreCase))
            {
                host = NullIfEmpty(text);
            }
        }

        return @for is null && host is null ? null : new Forwarded(@for, host);
    }

    /// <summary>The header's value.</summary>
    public override string ToString() => Host is null ? $"for=\"{For}\"" : $"for=\"{For}\";host={Host}";

    // Elements are separated by commas, which may also stand within quotes.
    private static ReadOnlySpan<char> FirstElement(string value)
    {
        var quoted = false;
        for (var i = 0; i < value.Length; i++)
        {
            quoted ^= value[i] == '"';
            if (value[i] == ',' && !quoted)
            {
                return value.AsSpan(0, i);
            }
        }

        return value;
    }

    private static string? NullIfEmpty(string text) => text.Length == 0 ? null : text;
}
