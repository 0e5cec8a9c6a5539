using System.Collections.Immutable;

namespace Mesh.Xds.Client;

/// <summary>Takes in what a server sends of one type.</summary>
/// <typeparam name="T">What a resource is to the program.</typeparam>
public interface IXdsHandler<T>
{
    /// <summary>Applies one message of the server: removals first, then the rest. Called for one message at a time; the answer is sent when it returns.</summary>
    /// <remarks>
    /// An exception refuses the whole message: the server is told the exception's message, and is asked for all of it again with the next stream. What changed is named there without its version,
    /// and what was removed is named as if it were held, so that a server that computes what is gone says so again.
    /// </remarks>
    void Apply(XdsUpdate<T> update);
}

/// <summary>One message of the server, without the resources that could not be read: those are refused already.</summary>
/// <typeparam name="T">What a resource is to the program.</typeparam>
public sealed class XdsUpdate<T>
{
    private readonly HashSet<string> _withoutEffect = [];
    private readonly HashSet<string> _reported = [];

    internal XdsUpdate(ImmutableArray<XdsResource<T>> changed, ImmutableArray<string> removed, XdsFaults? faults = null)
    {
        Changed = changed;
        Removed = removed;
        Faults = faults ?? new XdsFaults();
    }

    /// <summary>Added and changed resources, each name once.</summary>
    public ImmutableArray<XdsResource<T>> Changed { get; }

    /// <summary>Names of resources that are gone, or that were asked for and do not exist.</summary>
    public ImmutableArray<string> Removed { get; }

    internal XdsFaults Faults { get; }

    internal IReadOnlyList<(string Name, string Reason)> Refused => Faults.Shown;

    /// <summary>Whether the handler threw: some or all of it may have been applied, or nothing.</summary>
    internal bool HasFailed { get; private set; }

    /// <summary>Refuses a resource: it was not applied, and what was held before under its name still is.</summary>
    /// <param name="resource">One of <see cref="Changed"/>.</param>
    /// <param name="reason">What is wrong, which field, what is allowed; for whoever runs the control plane.</param>
    public void Refuse(XdsResource<T> resource, string reason)
    {
        Report(resource, reason);
        _withoutEffect.Add(resource.Name);
    }

    /// <summary>Tells the server that a resource has a fault, though it was applied in some way that is safe.</summary>
    /// <param name="resource">One of <see cref="Changed"/>.</param>
    /// <param name="reason">What is wrong, which field, what is allowed; for whoever runs the control plane.</param>
    public void Report(XdsResource<T> resource, string reason)
    {
        ArgumentNullException.ThrowIfNull(resource);
        Faults.Add(resource.Name, reason);
        _reported.Add(resource.Name);
    }

    internal bool HadEffect(string name) => !_withoutEffect.Contains(name);

    internal bool IsReported(string name) => HasFailed || _reported.Contains(name);

    internal void Fail(string typeUrl, string reason)
    {
        HasFailed = true;
        Faults.AddFirst(typeUrl, reason);
    }
}
