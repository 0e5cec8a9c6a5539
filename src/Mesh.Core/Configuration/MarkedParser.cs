using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Mesh.Core.Configuration;

/// <summary>A YAML parser that remembers where it is, for faults that come without a place; an alias of nothing is one.</summary>
internal sealed class MarkedParser(string yaml) : IParser
{
    private readonly Parser _parser = new(new StringReader(yaml));
    private readonly HashSet<AnchorName> _anchors = [];

    /// <summary>The beginning of what was read last.</summary>
    public Mark Place { get; private set; } = new(0, 1, 1);

    public ParsingEvent? Current => _parser.Current;

    public bool MoveNext()
    {
        var moved = _parser.MoveNext();
        Place = _parser.Current?.Start ?? Place;
        switch (_parser.Current)
        {
            case AnchorAlias alias when !_anchors.Contains(alias.Value):
                throw new YamlException(alias.Start, alias.End, $"the alias *{alias.Value} refers to no anchor above it");
            case NodeEvent { Anchor.IsEmpty: false } node:
                _anchors.Add(node.Anchor);
                break;
            default:
                break;
        }

        return moved;
    }
}
