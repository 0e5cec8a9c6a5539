using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Core.Workloads;

/// <summary>Values by range of addresses. Immutable: a change copies the path to it. Looking up visits the ranges that hold the address, and no other.</summary>
internal sealed class PrefixTree<T>
    where T : class
{
    public static readonly PrefixTree<T> Empty = new(null, null);

    private readonly Node? _v4;
    private readonly Node? _v6;

    private PrefixTree(Node? v4, Node? v6)
    {
        _v4 = v4;
        _v6 = v6;
    }

    public bool IsEmpty => _v4 is null && _v6 is null;

    public PrefixTree<T> Add(IPNetwork range, T value)
    {
        var key = KeyOf(range.BaseAddress, out var isV4);
        return isV4 ? new(Add(_v4, key, range.PrefixLength, value), _v6) : new(_v4, Add(_v6, key, range.PrefixLength, value));
    }

    public PrefixTree<T> Remove(IPNetwork range, T value)
    {
        var key = KeyOf(range.BaseAddress, out var isV4);
        return isV4 ? new(Remove(_v4, key, range.PrefixLength, value), _v6) : new(_v4, Remove(_v6, key, range.PrefixLength, value));
    }

    /// <summary>The values whose range holds an address, with the length of the range, the widest first.</summary>
    public IEnumerable<(T Value, int PrefixLength)> Covering(IPAddress address)
    {
        var key = KeyOf(address, out var isV4);
        var node = isV4 ? _v4 : _v6;
        while (node is not null && SharedBits(node.Key, key, node.Length) == node.Length)
        {
            foreach (var value in node.Values)
            {
                yield return (value, node.Length);
            }

            node = node.Length < (isV4 ? 32 : 128) ? node.Child(key) : null;
        }
    }

    private static Node Add(Node? node, UInt128 key, int length, T value)
    {
        if (node is null)
        {
            return new Node(key, length, [value], null, null);
        }

        var shared = SharedBits(node.Key, key, Math.Min(node.Length, length));
        if (shared == node.Length)
        {
            return shared == length
                ? node with { Values = node.Values.Add(value) }
                : node.WithChild(key, Add(node.Child(key), key, length, value));
        }

        var parent = new Node(Masked(key, shared), shared, [], null, null).WithChild(node.Key, node);
        return shared == length ? parent with { Values = [value] } : parent.WithChild(key, new Node(key, length, [value], null, null));
    }

    private static Node? Remove(Node? node, UInt128 key, int length, T value)
    {
        if (node is null || node.Length > length || SharedBits(node.Key, key, node.Length) < node.Length)
        {
            return node;
        }

        var left = node.Length == length
            ? node with { Values = node.Values.RemoveAll(one => ReferenceEquals(one, value)) }
            : node.WithChild(key, Remove(node.Child(key), key, length, value));

        // A node that neither holds a value nor parts two ways is not needed.
        return left.Values.IsEmpty && (left.Zero is null || left.One is null) ? left.Zero ?? left.One : left;
    }

    private static UInt128 KeyOf(IPAddress address, out bool isV4)
    {
        Span<byte> bytes = stackalloc byte[16];
        bytes.Clear();
        address.TryWriteBytes(bytes, out _);
        isV4 = address.AddressFamily is AddressFamily.InterNetwork;
        return BinaryPrimitives.ReadUInt128BigEndian(bytes);
    }

    private static int SharedBits(UInt128 one, UInt128 other, int limit) => Math.Min((int)UInt128.LeadingZeroCount(one ^ other), limit);

    private static UInt128 Masked(UInt128 key, int length) => length == 0 ? 0 : key & (UInt128.MaxValue << (128 - length));

    private sealed record Node(UInt128 Key, int Length, ImmutableArray<T> Values, Node? Zero, Node? One)
    {
        public Node? Child(UInt128 key) => Bit(key) ? One : Zero;

        public Node WithChild(UInt128 key, Node? child) => Bit(key) ? this with { One = child } : this with { Zero = child };

        private bool Bit(UInt128 key) => ((key >> (127 - Length)) & 1) == 1;
    }
}
