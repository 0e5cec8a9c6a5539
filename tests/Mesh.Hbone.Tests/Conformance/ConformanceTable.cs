using System.Collections;
using Xunit.Sdk;

namespace Mesh.Hbone.Conformance;

/// <summary>The cases of a section. A case that is for both ends of a connection is run against each.</summary>
internal sealed class ConformanceTable : IEnumerable<ConformanceCase>
{
    private readonly Dictionary<(string Section, Ours Ours, string Name), ConformanceCase> _cases = [];

    /// <summary>What the tests are called by: the section, our end, what the peer does.</summary>
    public TheoryData<string, Ours, string> Names
    {
        get
        {
            var names = new TheoryData<string, Ours, string>();
            foreach (var (section, ours, name) in _cases.Keys)
            {
                names.Add(section, ours, name);
            }

            return names;
        }
    }

    public void Add(ConformanceCase one)
    {
        foreach (var ours in Enum.GetValues<Ours>().Where(ours => one.Only is null || one.Only == ours))
        {
            _cases.Add((one.Section, ours, one.Name), one);
        }
    }

    public async Task RunAsync(string section, Ours ours, string name)
    {
        var one = _cases[(section, ours, name)];
        try
        {
            await using var stage = await Stage.SetAsync(ours, one.Given, one.Options, one.Settings);
            await one.Then.CheckAsync(stage, one.Send);
        }
        catch (Exception e)
        {
            throw new XunitException($"The peer sends {name}. Section {section}: {one.Rule}{Environment.NewLine}{e.Message}", e);
        }
    }

    public IEnumerator<ConformanceCase> GetEnumerator() => _cases.Values.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
