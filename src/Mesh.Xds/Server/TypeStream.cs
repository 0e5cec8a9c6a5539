using Mesh.Xds.Protos;

namespace Mesh.Xds.Server;

/// <summary>What one client has of one type, and what it is to get next. One response is on its way at most: what changes meanwhile comes with the next.</summary>
/// <remarks>Not thread-safe; the stream has a lock.</remarks>
internal abstract class TypeStream(Catalog catalog)
{
    private int _responses;

    public string TypeUrl => Catalog.TypeUrl;

    protected Catalog Catalog { get; } = catalog;

    /// <summary>How far the client has been told.</summary>
    protected long Sequence { get; set; }

    /// <summary>The nonce of the response that is not answered yet; null when there is none.</summary>
    public string? Awaiting { get; private set; }

    /// <summary>Takes in what a request says of names.</summary>
    public abstract void Subscribe(DeltaDiscoveryRequest request);

    /// <summary>The client has answered.</summary>
    public void Answered() => Awaiting = null;

    /// <summary>The next response; null when there is nothing to say, or an answer is awaited. Its resources may stand beside it, as octets that many clients share.</summary>
    public (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Next()
    {
        if (Awaiting is not null || Compose() is not { } next)
        {
            return null;
        }

        next.Response.TypeUrl = TypeUrl;
        next.Response.Nonce = Awaiting = $"{Sequence}-{++_responses}";
        return next;
    }

    protected abstract (DeltaDiscoveryResponse Response, ReadOnlyMemory<byte> Shared)? Compose();
}
