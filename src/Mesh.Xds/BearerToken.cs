namespace Mesh.Xds;

/// <summary>The token of a setting: the content of a file, or the setting itself (ztunnel §4). Errors name neither: what looks like a path may be a token.</summary>
internal static class BearerToken
{
    private const int MaxLength = 64 * 1024;

    /// <summary>The header fields of one call.</summary>
    /// <exception cref="IOException">The file cannot be read, or is empty.</exception>
    public static async ValueTask<IReadOnlyList<KeyValuePair<string, string>>> MetadataAsync(ControlPlaneEndpoint endpoint, CancellationToken cancellationToken)
    {
        if (endpoint.Token is not { } setting)
        {
            return endpoint.Metadata;
        }

        var token = setting;
        if (setting.StartsWith('/') || setting.StartsWith("./", StringComparison.Ordinal) || File.Exists(setting))
        {
            var length = new FileInfo(setting) is { Exists: true } file ? file.Length : throw new FileNotFoundException("the file of the token is not there");
            token = length > MaxLength
                ? throw new IOException($"the file of the token has {length} octets; allowed are {MaxLength}")
                : (await File.ReadAllTextAsync(setting, cancellationToken)).Trim();
        }

        return token.Length == 0 ? throw new IOException("the token is empty")
            : token.AsSpan().ContainsAnyExceptInRange('!', '~') ? throw new IOException("the token has spaces or characters that no token has")
            : [new("authorization", $"Bearer {token}"), .. endpoint.Metadata];
    }
}
