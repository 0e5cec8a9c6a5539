using System.Collections.Frozen;
using System.Runtime.InteropServices;

namespace Mesh.Xds.Workloads;

/// <summary>One object for values that many workloads have in common: names of namespaces and nodes, maps of ports.</summary>
/// <remarks>A mesh of 100,000 workloads has some hundred of them. Not thread-safe.</remarks>
internal sealed class SharedValues
{
    // When a mesh has more, sharing begins anew: what is in use stays in use.
    private const int MaxEntries = 16_384;

    private readonly Dictionary<string, string> _texts = [];
    private readonly Dictionary<PortsKey, FrozenDictionary<int, int>> _ports = [];

    public string Text(string text)
    {
        if (text.Length == 0)
        {
            return "";
        }

        if (_texts.Count >= MaxEntries)
        {
            _texts.Clear();
        }

        ref var shared = ref CollectionsMarshal.GetValueRefOrAddDefault(_texts, text, out _);
        return shared ??= text;
    }

    public FrozenDictionary<int, int> Ports(Dictionary<int, int> ports)
    {
        if (ports.Count == 0)
        {
            return FrozenDictionary<int, int>.Empty;
        }

        if (_ports.Count >= MaxEntries)
        {
            _ports.Clear();
        }

        ref var shared = ref CollectionsMarshal.GetValueRefOrAddDefault(_ports, new PortsKey(ports), out _);
        return shared ??= ports.ToFrozenDictionary();
    }

    private readonly struct PortsKey : IEquatable<PortsKey>
    {
        private readonly (int Service, int Target)[] _pairs;

        public PortsKey(Dictionary<int, int> ports)
        {
            _pairs = [.. ports.Select(pair => (pair.Key, pair.Value))];
            Array.Sort(_pairs);
        }

        public bool Equals(PortsKey other) => _pairs.AsSpan().SequenceEqual(other._pairs);

        public override bool Equals(object? obj) => obj is PortsKey other && Equals(other);

        public override int GetHashCode()
        {
            var hash = new HashCode();
            foreach (var pair in _pairs)
            {
                hash.Add(pair);
            }

            return hash.ToHashCode();
        }
    }
}
