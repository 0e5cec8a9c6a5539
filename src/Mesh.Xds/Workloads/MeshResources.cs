using System.Collections.Immutable;
using Mesh.Core.Workloads;
using Mesh.Xds.Client;

namespace Mesh.Xds.Workloads;

/// <summary>Keeps a <see cref="MeshState"/> as the control plane of an Istio ambient mesh describes it (ztunnel §5.3, §5.8).</summary>
/// <remarks>Each message of the server is published as one snapshot: nobody sees a service without its endpoints, or half of a change.</remarks>
public sealed class MeshResources : IXdsHandler<MeshAddress>, IXdsHandler<MeshAuthorization>
{
    /// <summary>The type URL of workloads and services.</summary>
    public const string AddressTypeUrl = "type.googleapis.com/istio.workload.Address";

    /// <summary>The type URL of L4 authorization policies.</summary>
    public const string AuthorizationTypeUrl = "type.googleapis.com/istio.security.Authorization";

    private readonly MeshState _state;
    private readonly AddressReader _addresses = new();

    // Only of resources whose name is not that of what they hold; by it alone a removal would not find them. They change with the state: an edit that fails changes neither.
    private ImmutableDictionary<string, object> _addressKeys = ImmutableDictionary<string, object>.Empty;
    private ImmutableDictionary<string, string> _policyKeys = ImmutableDictionary<string, string>.Empty;

    /// <summary>Prepares to fill a state.</summary>
    public MeshResources(MeshState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        _state = state;
        AddressType = new XdsResourceType<MeshAddress>(AddressTypeUrl, (_, octets) => _addresses.Read(octets.Span)) { NamesOf = address => address.Names };
    }

    /// <summary>Workloads and services.</summary>
    public XdsResourceType<MeshAddress> AddressType { get; }

    /// <summary>L4 authorization policies.</summary>
    public static XdsResourceType<MeshAuthorization> AuthorizationType { get; } = new(AuthorizationTypeUrl, (name, octets) => AuthorizationReader.Read(name, octets.Span))
    {
        Unreadable = AuthorizationReader.Unreadable,
    };

    /// <summary>Wants both types, in the order in which Istio's ztunnel asks for them.</summary>
    /// <param name="client">Where from.</param>
    /// <param name="onDemand">Whether workloads and services are asked for by name; policies always come all.</param>
    /// <returns>The subscription to workloads and services.</returns>
    public XdsSubscription<MeshAddress> SubscribeTo(XdsClient client, bool onDemand = false)
    {
        ArgumentNullException.ThrowIfNull(client);
        var addresses = client.Subscribe(AddressType, this, onDemand ? XdsSubscriptionMode.OnDemand : XdsSubscriptionMode.Wildcard);
        client.Subscribe(AuthorizationType, this);
        return addresses;
    }

    /// <inheritdoc/>
    public void Apply(XdsUpdate<MeshAddress> update)
    {
        ArgumentNullException.ThrowIfNull(update);
        _state.Update(editor =>
        {
            var keys = _addressKeys.ToBuilder();
            foreach (var name in update.Removed)
            {
                Remove(editor, keys, name);
            }

            foreach (var resource in update.Changed)
            {
                RemoveOther(editor, keys, resource);
                if (resource.Value.Workload is { } workload)
                {
                    editor.Upsert(workload);
                    Remember(keys, resource.Name, workload.Uid, workload.Uid);
                }
                else if (resource.Value.Service is { } service)
                {
                    editor.Upsert(service);
                    Remember(keys, resource.Name, service.Key.ToString(), service.Key);
                }
            }

            _addressKeys = keys.ToImmutable();
        });
    }

    /// <inheritdoc/>
    public void Apply(XdsUpdate<MeshAuthorization> update)
    {
        ArgumentNullException.ThrowIfNull(update);
        var before = _state.Current.Policies;
        var removed = update.Removed.ToHashSet();
        _state.Update(editor =>
        {
            var keys = _policyKeys.ToBuilder();
            foreach (var name in update.Removed)
            {
                editor.RemovePolicy(keys.Remove(name, out var key) ? key : name);
            }

            foreach (var resource in update.Changed)
            {
                var (policy, fault, isReadable) = resource.Value;
                var known = keys.GetValueOrDefault(resource.Name, policy.Key);
                if (!isReadable && !removed.Contains(resource.Name) && before.TryGet(known, out _))
                {
                    // The last good one is closer to what was meant than a door that is shut to all.
                    update.Refuse(resource, fault!);
                    continue;
                }

                // What the name stood for may be another policy now.
                var old = keys.Remove(resource.Name, out var key) ? key : resource.IsNew ? policy.Key : resource.Name;
                if (old != policy.Key)
                {
                    editor.RemovePolicy(old);
                }

                editor.Upsert(policy);
                if (resource.Name != policy.Key)
                {
                    keys[resource.Name] = policy.Key;
                }

                if (fault is not null)
                {
                    update.Report(resource, fault);
                }
            }

            _policyKeys = keys.ToImmutable();
        });
    }

    private static void Remove(MeshEditor editor, ImmutableDictionary<string, object>.Builder keys, string name)
    {
        switch (keys.Remove(name, out var key) ? key : null)
        {
            case string uid:
                editor.RemoveWorkload(uid);
                return;
            case NamespacedHostname service:
                editor.RemoveService(service);
                return;
        }

        // ztunnel §5.8: a UID first, then a service.
        if (!editor.RemoveWorkload(name) && ServiceNamed(name) is { } usual)
        {
            editor.RemoveService(usual);
        }
    }

    // What the name stood for may be another thing now, and of another kind.
    private static void RemoveOther(MeshEditor editor, ImmutableDictionary<string, object>.Builder keys, XdsResource<MeshAddress> resource)
    {
        if (keys.ContainsKey(resource.Name))
        {
            Remove(editor, keys, resource.Name);
        }
        else if (!resource.IsNew)
        {
            if (resource.Value.Workload?.Uid != resource.Name)
            {
                editor.RemoveWorkload(resource.Name);
            }

            if (ServiceNamed(resource.Name) is { } service && resource.Value.Service?.Key != service)
            {
                editor.RemoveService(service);
            }
        }
    }

    private static NamespacedHostname? ServiceNamed(string name)
    {
        var slash = name.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? null : new NamespacedHostname(name[..slash], name[(slash + 1)..]);
    }

    private static void Remember(ImmutableDictionary<string, object>.Builder keys, string name, string usual, object key)
    {
        if (name != usual)
        {
            keys[name] = key;
        }
    }
}
