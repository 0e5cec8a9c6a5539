namespace Mesh.Hbone.Http2.Hpack;

/// <summary>The header fields that one direction of a connection has seen (RFC 7541, section 2.3.2): first in, first out, bounded in octets.</summary>
internal sealed class DynamicTable(int maxSize)
{
    // A ring. The newest entry stands before _head and has index 0.
    private HeaderField[] _ring = new HeaderField[16];
    private int _head;

    public int Count { get; private set; }

    public int Size { get; private set; }

    public int MaxSize { get; private set; } = maxSize;

    /// <summary>Entries by age, the newest first.</summary>
    public HeaderField this[int age] => _ring[(_head - 1 - age + _ring.Length) % _ring.Length];

    public void Resize(int maxSize)
    {
        MaxSize = maxSize;
        Evict(0);
    }

    /// <summary>Adds an entry; the oldest leave. One that is larger than the table empties it (RFC 7541, section 4.4).</summary>
    public void Add(in HeaderField field)
    {
        Evict(field.Size);
        if (field.Size > MaxSize)
        {
            return;
        }

        if (Count == _ring.Length)
        {
            Grow();
        }

        _ring[_head] = field;
        _head = (_head + 1) % _ring.Length;
        Count++;
        Size += field.Size;
    }

    private void Evict(int room)
    {
        while (Count > 0 && Size + room > MaxSize)
        {
            var oldest = (_head - Count + _ring.Length) % _ring.Length;
            Size -= _ring[oldest].Size;
            _ring[oldest] = default;
            Count--;
        }
    }

    private void Grow()
    {
        var larger = new HeaderField[_ring.Length * 2];
        for (var age = 0; age < Count; age++)
        {
            larger[Count - 1 - age] = this[age];
        }

        _head = Count;
        _ring = larger;
    }
}
