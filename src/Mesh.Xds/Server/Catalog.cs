using System.Collections.Immutable;
using System.Security.Cryptography;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Mesh.Core.Workloads;
using Mesh.Xds.Workloads;
using CoreService = Mesh.Core.Workloads.Service;
using CoreWorkload = Mesh.Core.Workloads.Workload;
using DeltaDiscoveryResponse = Mesh.Xds.Protos.DeltaDiscoveryResponse;
using Resource = Mesh.Xds.Protos.Resource;

namespace Mesh.Xds.Server;

/// <summary>A resource as it is sent to everybody.</summary>
/// <param name="Resource">The resource; shared, and not to be changed.</param>
/// <param name="Model">The workload or service that it stands for; null for a policy.</param>
internal sealed record Served(Resource Resource, MeshAddress? Model)
{
    public string Name => Resource.Name;

    public string Version => Resource.Version;
}

/// <summary>The resources of one type at one moment.</summary>
/// <param name="Sequence">Grows with every change.</param>
/// <param name="Resources">By name.</param>
internal sealed record CatalogSnapshot(long Sequence, ImmutableDictionary<string, Served> Resources);

/// <summary>The resources of one type as they are sent, and which of them changed of late. Encoded once, however many clients there are.</summary>
/// <remarks>One writer, the state; any number of readers.</remarks>
internal sealed class Catalog(string typeUrl)
{
    // A client that is further behind is compared name by name.
    private const int MaxChanges = 65_536;

    private readonly Lock _gate = new();
    private readonly Lock _encoding = new();
    private readonly string[] _changes = new string[MaxChanges];
    private CatalogSnapshot _current = new(0, ImmutableDictionary<string, Served>.Empty);
    private (CatalogSnapshot Of, byte[] Octets)? _everything;

    public string TypeUrl { get; } = typeUrl;

    public CatalogSnapshot Current => Volatile.Read(ref _current);

    /// <summary>Replaces resources; a null takes one away. Returns whether anything is another thing now.</summary>
    public bool Update(IEnumerable<(string Name, IMessage? Content, MeshAddress? Model)> changes)
    {
        lock (_gate)
        {
            var (sequence, before) = _current;
            var resources = before.ToBuilder();
            foreach (var (name, content, model) in changes)
            {
                if (content is null)
                {
                    if (!resources.Remove(name))
                    {
                        continue;
                    }
                }
                else
                {
                    var octets = content.ToByteString();
                    var version = Convert.ToHexStringLower(SHA256.HashData(octets.Span).AsSpan(0, 8));
                    if (resources.TryGetValue(name, out var old) && old.Version == version)
                    {
                        continue;
                    }

                    resources[name] = new Served(new Resource { Name = name, Version = version, Resource_ = new Any { TypeUrl = TypeUrl, Value = octets } }, model);
                }

                _changes[sequence++ % MaxChanges] = name;
            }

            if (sequence == _current.Sequence)
            {
                return false;
            }

            Volatile.Write(ref _current, new CatalogSnapshot(sequence, resources.ToImmutable()));
            return true;
        }
    }

    /// <summary>The names that changed since a moment, and what there is now; the names are null when it is too long ago to tell.</summary>
    public (CatalogSnapshot Now, HashSet<string>? Changed) Since(long sequence)
    {
        lock (_gate)
        {
            if (_current.Sequence - sequence > MaxChanges)
            {
                return (_current, null);
            }

            var changed = new HashSet<string>();
            for (var i = sequence; i < _current.Sequence; i++)
            {
                changed.Add(_changes[i % MaxChanges]);
            }

            return (_current, changed);
        }
    }

    /// <summary>All resources as the octets of a response's field, the same for every client that begins with nothing.</summary>
    public (CatalogSnapshot Now, ReadOnlyMemory<byte> Octets) Everything()
    {
        // Not under the lock of changes: this takes a while with many resources.
        lock (_encoding)
        {
            var now = Current;
            if (_everything is not { } everything || everything.Of.Sequence != now.Sequence)
            {
                var response = new DeltaDiscoveryResponse();
                response.Resources.Add(now.Resources.Values.Select(served => served.Resource));
                everything = (now, response.ToByteArray());
                _everything = everything;
            }

            return everything;
        }
    }
}

/// <summary>What a mesh is as resources: kept like a <see cref="MeshState"/>.</summary>
internal sealed class Catalogs : IDisposable
{
    private readonly Lock _gate = new();
    private readonly MeshState _state;

    public Catalogs(MeshState state)
    {
        _state = state;
        state.Changed += OnChanged;
        var mesh = state.Current;
        OnChanged(null, new MeshChange(MeshSnapshot.Empty, mesh, MeshKeys.Of(mesh)));
    }

    /// <summary>Raised when there is something new to send.</summary>
    public event Action? Changed;

    public Catalog Addresses { get; } = new(MeshResources.AddressTypeUrl);

    public Catalog Authorizations { get; } = new(MeshResources.AuthorizationTypeUrl);

    public void Dispose() => _state.Changed -= OnChanged;

    private void OnChanged(object? sender, MeshChange change)
    {
        lock (_gate)
        {
            Update_NeedsLock(change.Keys);
        }
    }

    private void Update_NeedsLock(MeshKeys keys)
    {
        // The newest, whichever change this is of.
        var mesh = _state.Current;
        var addresses = keys.Workloads.Select(uid => Of(uid, mesh.FindWorkload(uid))).Concat(keys.Services.Select(key => Of(key, mesh.FindService(key))));
        if (Addresses.Update(addresses) | Authorizations.Update(keys.Policies.Select(key => Of(key, mesh))))
        {
            Changed?.Invoke();
        }
    }

    private static (string Name, IMessage? Content, MeshAddress? Model) Of(string uid, CoreWorkload? workload) =>
        workload is null ? (uid, null, null) : (uid, AddressWriter.Write(workload), new MeshAddress(workload, null));

    private static (string Name, IMessage? Content, MeshAddress? Model) Of(NamespacedHostname key, CoreService? service) =>
        service is null ? (key.ToString(), null, null) : (key.ToString(), AddressWriter.Write(service), new MeshAddress(null, service));

    private static (string Name, IMessage? Content, MeshAddress? Model) Of(string key, MeshSnapshot mesh) =>
        mesh.Policies.TryGet(key, out var policy) ? (key, AuthorizationWriter.Write(policy), null) : (key, null, null);
}
