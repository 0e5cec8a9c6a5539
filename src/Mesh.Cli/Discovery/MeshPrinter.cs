using Mesh.Core.Configuration;
using Mesh.Core.Workloads;
using Mesh.Xds.Client;
using Mesh.Xds.Workloads;

namespace Mesh.Cli.Discovery;

/// <summary>Keeps the mesh that a control plane sends, and prints it: first all, then what changes.</summary>
internal sealed class MeshPrinter : IXdsHandler<MeshAddress>, IXdsHandler<MeshAuthorization>
{
    private readonly Lock _gate = new();
    private readonly MeshState _state = new();
    private readonly MeshResources _resources;
    private readonly TextWriter _output;
    private readonly TextWriter _error;
    private bool _isWatching;

    public MeshPrinter(TextWriter output, TextWriter error)
    {
        _resources = new MeshResources(_state);
        _output = output;
        _error = TextWriter.Synchronized(error);
    }

    public XdsResourceType<MeshAddress> AddressType => _resources.AddressType;

    public bool IsEmpty => _state.Current is { WorkloadCount: 0, ServiceCount: 0 } mesh && !mesh.Policies.Policies.Any();

    /// <summary>Prints all that there is; from now on, what comes is printed as it comes.</summary>
    public void PrintAll()
    {
        lock (_gate)
        {
            var all = LocalConfiguration.Of(_state.Current);
            using var text = new StringWriter();
            all.WriteTo(text);
            _output.Write(text.ToString());
            _output.Flush();
            _isWatching = true;
            try
            {
                LocalConfiguration.Parse(text.ToString(), "output");
            }
            catch (ConfigurationException e)
            {
                // The control plane may send what leads nowhere; a file may not.
                _error.WriteLine($"as a file this would have faults:{Environment.NewLine}{string.Join(Environment.NewLine, e.Diagnostics.Select(diagnostic => Tool.Printable(diagnostic.ToString())))}");
            }
        }
    }

    /// <summary>Ends when it is told to.</summary>
    public async Task WatchAsync(CancellationToken stop)
    {
        _output.WriteLine("# watching");
        _output.Flush();
        await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Apply(XdsUpdate<MeshAddress> update)
    {
        lock (_gate)
        {
            _resources.Apply(update);
            Print(update, address => new LocalConfiguration(
                address.Workload is { } workload ? [workload] : [], address.Service is { } service ? [service] : [], []));
        }
    }

    public void Apply(XdsUpdate<MeshAuthorization> update)
    {
        lock (_gate)
        {
            _resources.Apply(update);
            foreach (var resource in update.Changed.Where(resource => resource.Value.Fault is not null))
            {
                _error.WriteLine(Tool.Printable($"{resource.Name}: {resource.Value.Fault}"));
            }

            Print(update, authorization => new LocalConfiguration([], [], [authorization.Policy]));
        }
    }

    private void Print<T>(XdsUpdate<T> update, Func<T, LocalConfiguration> write)
    {
        if (!_isWatching)
        {
            return;
        }

        foreach (var name in update.Removed)
        {
            _output.WriteLine($"# removed {Tool.Printable(name)}");
        }

        foreach (var resource in update.Changed)
        {
            _output.WriteLine($"# {(resource.IsNew ? "added" : "changed")} {Tool.Printable(resource.Name)}");
            write(resource.Value).WriteTo(_output);
        }

        _output.Flush();
    }
}
