using Mesh.Xds.Protos;

namespace Mesh.Xds.Client;

/// <summary>Which resources of a type a client wants.</summary>
public enum XdsSubscriptionMode
{
    /// <summary>All that the server has for this node.</summary>
    Wildcard = 0,

    /// <summary>Those that are asked for by name.</summary>
    OnDemand = 1,
}

/// <summary>What came of asking for a resource by name.</summary>
public enum XdsDemand
{
    /// <summary>It is there, and was handed to the handler.</summary>
    Found = 0,

    /// <summary>The server says that there is none.</summary>
    Absent = 1,

    /// <summary>The server has not answered in the time allowed; or so many questions are without an answer that this one was not asked.</summary>
    Unanswered = 2,
}

/// <summary>A client's interest in one type of resources.</summary>
/// <remarks>The part that is the same for all types: what is said to the server, and where it stands.</remarks>
public abstract class XdsSubscription
{
    private protected XdsSubscription(string typeUrl, XdsSubscriptionMode mode)
    {
        TypeUrl = typeUrl;
        Mode = mode;
    }

    /// <summary>The type.</summary>
    public string TypeUrl { get; }

    /// <summary>Which resources are wanted.</summary>
    public XdsSubscriptionMode Mode { get; }

    /// <summary>Whether a message of this type has come in which every resource was acceptable (ztunnel §5.6). Stays true; an on-demand subscription needs none.</summary>
    public abstract bool IsReady { get; }

    /// <summary>How many resources are held.</summary>
    public abstract int Count { get; }

    /// <summary>What the server was last told to be wrong, on one line and with a bound; null when the last message was acceptable.</summary>
    public abstract string? LastRefusal { get; }

    /// <summary>How long until <see cref="Settle"/> is due, if nothing comes until then; null while it is not.</summary>
    internal abstract TimeSpan? SettlesIn { get; }

    /// <summary>A stream begins: everything is to be said anew.</summary>
    /// <param name="wasExhausted">Whether the last one ended because the server, or we, had too much to take.</param>
    internal abstract void Restart(bool wasExhausted);

    /// <summary>What is to be said to the server unasked; null for nothing.</summary>
    internal abstract DeltaDiscoveryRequest? NextRequest(Node node);

    /// <summary>Applies a message and makes the answer to it.</summary>
    internal abstract DeltaDiscoveryRequest Answer(DeltaDiscoveryResponse response);

    /// <summary>Lets go what the server has not named, after an opening in which we could not ask for it.</summary>
    internal abstract void Settle();
}
