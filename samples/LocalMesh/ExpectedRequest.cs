using YamlDotNet.RepresentationModel;

namespace LocalMesh;

/// <summary>A request to make, and what the mesh should do with it: an entry of <c>x-requests</c>.</summary>
internal sealed record ExpectedRequest(string From, string To, bool Allowed, string? Policy)
{
    public static IReadOnlyList<ExpectedRequest> ReadAll(string path)
    {
        var stream = new YamlStream();
        using var reader = File.OpenText(path);
        stream.Load(reader);
        return [.. ((YamlSequenceNode)stream.Documents[0].RootNode["x-requests"]).Cast<YamlMappingNode>().Select(Read)];
    }

    private static ExpectedRequest Read(YamlMappingNode node)
    {
        var fields = node.Children.ToDictionary(pair => pair.Key.ToString(), pair => pair.Value.ToString());
        return new ExpectedRequest(fields["from"], fields["to"], fields["expect"] == "allowed", fields.GetValueOrDefault("by"));
    }
}
