using Mesh.Hbone.Http2;

namespace Mesh.Hbone.Conformance;

/// <summary>One rule of a standard, what a peer does to try it, and what has to come of it.</summary>
/// <param name="Section">Where the rule stands.</param>
/// <param name="Name">What the peer does.</param>
/// <param name="Rule">The rule, in one sentence; where the standard leaves a choice, what we chose.</param>
/// <param name="Given">What has happened before.</param>
/// <param name="Send">The octets that the peer sends; null when it sends nothing.</param>
/// <param name="Then">What has to come of it.</param>
internal sealed record ConformanceCase(string Section, string Name, string Rule, Given Given, byte[]? Send, Reaction Then)
{
    /// <summary>The end of ours that is tried; both when null.</summary>
    public Ours? Only { get; init; }

    /// <summary>What is not as usual about our end.</summary>
    public HboneOptions? Options { get; init; }

    /// <summary>What the peer's first SETTINGS say.</summary>
    public (Http2Setting Id, uint Value)[] Settings { get; init; } = [];
}
