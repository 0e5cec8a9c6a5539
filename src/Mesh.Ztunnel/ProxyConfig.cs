using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Mesh.Ztunnel;

/// <summary>Reads Istio's ProxyConfig, in YAML or JSON, as the settings that it stands for (ztunnel §13).</summary>
internal static class ProxyConfig
{
    /// <summary>The file that holds a MeshConfig, whose <c>defaultConfig</c> is a ProxyConfig; relative to the working directory, as in Istio.</summary>
    public const string MeshFile = "./etc/istio/config/mesh";

    private const string MetadataPrefix = "ISTIO_META_";

    /// <summary>Reads a ProxyConfig, or the one in a MeshConfig.</summary>
    /// <param name="text">YAML or JSON.</param>
    /// <param name="isMeshConfig">Whether it is a MeshConfig.</param>
    /// <exception cref="FormatException">It cannot be read; the message says why.</exception>
    public static IReadOnlyDictionary<string, string> Read(string text, bool isMeshConfig)
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal);
        if (Root(text) is not { } root || (isMeshConfig ? Child(root, "defaultConfig") as YamlMappingNode : root) is not { } config)
        {
            return settings;
        }

        foreach (var (key, name) in new[] { ("discoveryAddress", "XDS_ADDRESS"), ("proxyAdminPort", "MESH_ADMIN_PORT"), ("statsPort", "MESH_STATS_PORT"), ("concurrency", "ZTUNNEL_WORKER_THREADS") })
        {
            if (Child(config, key) is YamlScalarNode { Value: { Length: > 0 } value })
            {
                settings[name] = value;
            }
        }

        // Both are istiod, unless one is set apart (ztunnel §4).
        if (settings.TryGetValue("XDS_ADDRESS", out var discovery))
        {
            settings["CA_ADDRESS"] = discovery;
        }

        if (Child(config, "proxyMetadata") is YamlMappingNode metadata)
        {
            foreach (var (key, value) in metadata.Children)
            {
                if ((key, value) is (YamlScalarNode { Value: { } name }, YamlScalarNode { Value: { } content }))
                {
                    settings[name.StartsWith(MetadataPrefix, StringComparison.Ordinal) ? name : MetadataPrefix + name] = content;
                }
            }
        }

        return settings;
    }

    private static YamlMappingNode? Root(string text)
    {
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            return stream.Documents.Count == 0 || stream.Documents[0].RootNode is YamlScalarNode { Value: "" or null }
                ? null
                : stream.Documents[0].RootNode as YamlMappingNode ?? throw new FormatException("it is not a mapping of fields");
        }
        catch (Exception e) when (e is YamlException or InvalidOperationException or ArgumentException)
        {
            throw new FormatException($"it is not valid YAML: {e.Message}", e);
        }
    }

    private static YamlNode? Child(YamlMappingNode node, string name) => node.Children.TryGetValue(name, out var child) ? child : null;
}
