using Mesh.Xds.Grpc;
using Mesh.Xds.Protos;

namespace Mesh.Xds.Server;

/// <summary>A client that wants everything.</summary>
internal sealed class WildcardStream(Catalog catalog) : TypeStream(catalog)
{
    // Until the first response: what the client says it has from streams before.
    private IReadOnlyDictionary<string, string>? _held;
    private bool _hasBegun;

    public override void Subscribe(DeltaDiscoveryRequest request) => _held ??= _hasBegun ? null : new Dictionary<string, string>(request.InitialResourceVersions);

    protected override (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Compose()
    {
        if (!_hasBegun)
        {
            _hasBegun = true;
            return Begin();
        }

        var (now, changed) = Catalog.Since(Sequence);
        if (changed is { Count: 0 })
        {
            return null;
        }

        Sequence = now.Sequence;
        var response = new DeltaDiscoveryResponse();
        if (changed is null)
        {
            // Too far behind to say what is gone: an end to the stream lets the client tell what it has.
            throw new GrpcException(GrpcStatusCode.Aborted, "too many changes since the last answer; begin again");
        }

        foreach (var name in changed)
        {
            if (now.Resources.TryGetValue(name, out var served))
            {
                response.Resources.Add(served.Resource);
            }
            else
            {
                response.RemovedResources.Add(name);
            }
        }

        return (response, default);
    }

    private (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Begin()
    {
        var response = new DeltaDiscoveryResponse();
        if (_held is not { Count: > 0 } held)
        {
            var (everything, octets) = Catalog.Everything();
            Sequence = everything.Sequence;
            return (response, octets);
        }

        var now = Catalog.Current;
        Sequence = now.Sequence;
        response.Resources.Add(now.Resources.Values.Where(served => held.GetValueOrDefault(served.Name) != served.Version).Select(served => served.Resource));
        response.RemovedResources.Add(held.Keys.Where(name => !now.Resources.ContainsKey(name)));
        _held = null;
        return (response, default);
    }
}
