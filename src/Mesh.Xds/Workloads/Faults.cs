namespace Mesh.Xds.Workloads;

/// <summary>A resource that cannot be taken, with every field that is at fault.</summary>
internal sealed class ResourceException(string message) : Exception(message);

/// <summary>Collects what is wrong with a resource, so that whoever runs the control plane sees all of it at once.</summary>
internal sealed class Faults
{
    // Whoever sends more has a fault of another kind.
    private const int Max = 16;

    private readonly List<string> _texts = [];

    public bool Any => _texts.Count > 0;

    public void Add(string field, string fault)
    {
        if (_texts.Count < Max)
        {
            _texts.Add($"{field} {fault}");
        }
    }

    /// <summary>Notes a value of an enumeration that is not known, and answers what stands in for it.</summary>
    public T Unknown<TWire, T>(string field, TWire value, string allowed, T standIn)
        where TWire : struct, Enum
    {
        Add(field, $"is {value}; allowed are {allowed}");
        return standIn;
    }

    public override string ToString() => string.Join(", ", _texts);
}
