using System.Security.Cryptography.X509Certificates;

namespace Mesh.Xds;

/// <summary>How a control plane or certificate authority is reached, and what is shown to it (ztunnel §3.7, §4).</summary>
/// <remarks>Nothing here is read when it is set: files are read again for every connection (roots, client certificate) or call (token).</remarks>
public sealed record ControlPlaneEndpoint
{
    /// <summary>The server: <c>https://host:port</c>.</summary>
    /// <exception cref="ArgumentException">Another scheme, or more than host and port.</exception>
    public required Uri Address
    {
        get;
        init => field = value is { IsAbsoluteUri: true, Scheme: "https", PathAndQuery: "/", UserInfo: "" }
            ? value
            : throw new ArgumentException($"the address is '{value}'; allowed is https://host:port", nameof(value));
    }

    /// <summary>Who may vouch for the server: the path of a PEM file, the PEM text itself, or <c>SYSTEM</c> for the roots of the operating system. Default <c>SYSTEM</c>.</summary>
    public string RootCertificates { get; init; } = ServerRoots.System;

    /// <summary>Another DNS name that the server's certificate may have instead of the address's; null for none.</summary>
    public string? AlternativeHostname { get; init; }

    /// <summary>The bearer token of every call: the path of a file, read for each call, or the token itself; null to send none.</summary>
    public string? Token { get; init; }

    /// <summary>What is sent with every call, as <c>clusterid</c>; names in lower case.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Metadata { get; init; } = [];

    /// <summary>The certificate with key that the client shows, asked for at each connection; null, or a null result, for none.</summary>
    public Func<X509Certificate2?>? ClientCertificate { get; init; }

    /// <summary>The address; never what is shown to it.</summary>
    public override string ToString() => Address.ToString();

    /// <summary>Reads an address as settings have it: <c>host:port</c> or <c>https://host:port</c>.</summary>
    /// <exception cref="FormatException">It is neither.</exception>
    public static Uri ParseAddress(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var full = text.Contains("://", StringComparison.Ordinal) ? text : $"https://{text}";
        return Uri.TryCreate(full, UriKind.Absolute, out var address) && address is { Scheme: "https", PathAndQuery: "/", UserInfo: "", Fragment: "" }
            ? address
            : throw new FormatException($"'{text}' is no address of a control plane; allowed are host:port and https://host:port");
    }
}
