namespace Mesh.Xds.Client;

/// <summary>What is wrong with a message, for whoever runs the control plane: the first faults, and how many more there are.</summary>
internal sealed class XdsFaults
{
    // Whoever makes more has made one fault many times.
    private const int MaxShown = 100;
    private const int MaxName = 512;
    private const int MaxReason = 2048;
    private const int MaxDetail = 16 * 1024;

    private readonly List<(string Name, string Reason)> _shown = [];
    private int _length;

    /// <summary>How many there are.</summary>
    public int Count { get; private set; }

    /// <summary>The first of them.</summary>
    public IReadOnlyList<(string Name, string Reason)> Shown => _shown;

    public void Add(string name, string reason)
    {
        Count++;
        if (_shown.Count < MaxShown && _length < MaxDetail)
        {
            Show(_shown.Count, name, reason);
        }
    }

    /// <summary>Adds one that is shown whatever else there is.</summary>
    public void AddFirst(string name, string reason)
    {
        Count++;
        Show(0, name, reason);
    }

    public override string ToString()
    {
        var more = Count - _shown.Count;
        return string.Join("; ", _shown.Select(fault => $"{fault.Name}: {fault.Reason}")) + (more == 0 ? "" : $"; and {more} more");
    }

    private void Show(int index, string name, string reason)
    {
        var fault = (PrintableText.Of(name, MaxName), PrintableText.Of(reason, MaxReason));
        _shown.Insert(index, fault);
        _length += fault.Item1.Length + fault.Item2.Length;
    }
}
