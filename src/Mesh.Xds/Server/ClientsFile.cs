using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using Mesh.Core.Identity;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Mesh.Xds.Server;

/// <summary>The clients of a control plane, from a YAML file that is read again when it has changed.</summary>
/// <remarks>
/// <code>
/// clients:
/// - {node: node-1, token: 5f0c...}
/// - {node: node-2, tokenSha256: 9a1b...}
/// - {node: node-3, spiffeId: spiffe://cluster.local/node/node-3}
/// - {identity: spiffe://cluster.local/ns/shop/sa/web, token: 77de...}
/// </code>
/// A client has a <c>node</c>, or an <c>identity</c>, and proves itself by a bearer token or by a certificate with a SPIFFE ID. Thread-safe.
/// </remarks>
public sealed class ClientsFile : IClientAuthenticator
{
    // Shorter ones can be guessed.
    private const int MinTokenLength = 16;
    private const int MaxFileSize = 16 * 1024 * 1024;
    private const string Bearer = "Bearer ";

    private readonly Lock _gate = new();
    private readonly string _path;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private (long Length, DateTime LastWrite) _stamp;
    private Clients _clients;

    /// <summary>Reads a file.</summary>
    /// <exception cref="FormatException">The file has a fault; the message names the line and what is allowed.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public ClientsFile(string path, ILogger<ClientsFile>? logger = null, TimeProvider? time = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        _path = path;
        _time = time ?? TimeProvider.System;
        _logger = logger ?? NullLogger<ClientsFile>.Instance;
        _stamp = Stamp();
        _clients = Read();
    }

    /// <summary>The trust domains of the certificates by which clients prove themselves, as the file is now.</summary>
    public IEnumerable<TrustDomain> TrustDomains => Current().ByIdentity.Keys.Select(identity => identity.TrustDomain).Distinct();

    /// <inheritdoc/>
    public ControlPlaneClient? Authenticate(ControlPlaneCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var clients = Current();
        if (call.Metadata("authorization") is { } authorization && authorization.StartsWith(Bearer, StringComparison.Ordinal))
        {
            // Found by its hash: how long the search takes says nothing of the token.
            return clients.ByToken.GetValueOrDefault(Hash(authorization[Bearer.Length..]));
        }

        return call.ClientCertificate is { } certificate && certificate.NotAfter.ToUniversalTime() >= _time.GetUtcNow().UtcDateTime && SpiffeId.TryRead(certificate, out var identity, out _) ? clients.ByIdentity.GetValueOrDefault(identity) : null;
    }

    private Clients Current()
    {
        lock (_gate)
        {
            try
            {
                var stamp = Stamp();
                if (stamp != _stamp)
                {
                    try
                    {
                        _clients = Read();
                    }
                    catch (FormatException)
                    {
                        _stamp = stamp;
                        throw;
                    }

                    _stamp = stamp;
                    _logger.ClientsRead(_path, _clients.ByToken.Count + _clients.ByIdentity.Count);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
            {
                _logger.ClientsUnusable(_path, e.Message);
            }

            return _clients;
        }
    }

    // Of the file that a link leads to: a mounted Secret changes behind links that stay.
    private (long Length, DateTime LastWrite) Stamp()
    {
        using var handle = File.OpenHandle(_path);
        return (RandomAccess.GetLength(handle), File.GetLastWriteTimeUtc(handle));
    }

    private Clients Read()
    {
        if (Stamp().Length > MaxFileSize)
        {
            throw new FormatException($"{_path} has more than {MaxFileSize} octets");
        }

        var stream = new YamlStream();
        try
        {
            using var reader = new StreamReader(_path);
            stream.Load(reader);
        }
        catch (Exception e) when (e is YamlException or InvalidOperationException or ArgumentException)
        {
            throw new FormatException($"{_path} is not valid YAML: {e.Message}", e);
        }

        if (stream.Documents is not [{ RootNode: YamlMappingNode { Children: [{ Key: YamlScalarNode { Value: "clients" }, Value: YamlSequenceNode list }] } }])
        {
            throw new FormatException($"{_path} must hold one list, 'clients'");
        }

        var (byToken, byIdentity) = (ImmutableDictionary.CreateBuilder<string, ControlPlaneClient>(), ImmutableDictionary.CreateBuilder<SpiffeId, ControlPlaneClient>());
        foreach (var node in list.Children)
        {
            Read(node, byToken, byIdentity);
        }

        return new Clients(byToken.ToImmutable(), byIdentity.ToImmutable());
    }

    private void Read(YamlNode node, ImmutableDictionary<string, ControlPlaneClient>.Builder byToken, ImmutableDictionary<SpiffeId, ControlPlaneClient>.Builder byIdentity)
    {
        var place = $"{_path}:{node.Start.Line}";
        if (node is not YamlMappingNode { Children: var children } || children.Any(child => child is not { Key: YamlScalarNode, Value: YamlScalarNode }))
        {
            throw new FormatException($"{place}: a client is a mapping of fields to texts");
        }

        var fields = children.ToDictionary(child => ((YamlScalarNode)child.Key).Value ?? "", child => ((YamlScalarNode)child.Value).Value ?? "");
        if (fields.Keys.FirstOrDefault(key => key is not ("node" or "identity" or "token" or "tokenSha256" or "spiffeId")) is { } unknown)
        {
            throw new FormatException($"{place}: '{unknown}' is no field; allowed are node or identity, with token, tokenSha256 or spiffeId");
        }

        if (fields.ContainsKey("node") == fields.ContainsKey("identity") || fields.Count != 2)
        {
            throw new FormatException($"{place}: a client has a node or an identity, and one of token, tokenSha256 and spiffeId");
        }

        var client = fields.TryGetValue("node", out var name)
            ? new ControlPlaneClient($"node {name}", name.Length > 0 ? name : throw new FormatException($"{place}: node is empty"), [])
            : new ControlPlaneClient(fields["identity"], null, [Identity(fields["identity"], place)]);
        if (fields.TryGetValue("spiffeId", out var id))
        {
            if (!byIdentity.TryAdd(Identity(id, place), client))
            {
                throw new FormatException($"{place}: {id} stands there twice");
            }

            return;
        }

        if (!byToken.TryAdd(TokenHash(fields, place), client))
        {
            throw new FormatException($"{place}: the token stands there twice");
        }
    }

    private static string TokenHash(Dictionary<string, string> fields, string place)
    {
        if (fields.TryGetValue("token", out var token))
        {
            return token.Length >= MinTokenLength ? Hash(token) : throw new FormatException($"{place}: the token has {token.Length} characters; needed are {MinTokenLength}");
        }

        var hash = fields["tokenSha256"].ToLowerInvariant();
        return hash.Length == SHA256.HashSizeInBytes * 2 && hash.All(char.IsAsciiHexDigitLower)
            ? hash
            : throw new FormatException($"{place}: tokenSha256 is not a SHA-256 hash in hexadecimal, of {SHA256.HashSizeInBytes * 2} digits");
    }

    private static SpiffeId Identity(string text, string place) => SpiffeId.TryParse(text, out var id, out var error) ? id : throw new FormatException($"{place}: {error}");

    private static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));

    private sealed record Clients(ImmutableDictionary<string, ControlPlaneClient> ByToken, ImmutableDictionary<SpiffeId, ControlPlaneClient> ByIdentity);
}
