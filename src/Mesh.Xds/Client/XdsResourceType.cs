using System.Collections.Immutable;

namespace Mesh.Xds.Client;

/// <summary>Reads a resource. Throws what it likes when it cannot: the resource is then refused with the exception's message, and nothing else happens.</summary>
/// <param name="name">The name that the server gave it.</param>
/// <param name="octets">The resource, usually a protobuf message. Valid during the call.</param>
public delegate T XdsParser<out T>(string name, ReadOnlyMemory<byte> octets);

/// <summary>A type of resources that xDS can bring: its type URL, and how its octets become an object.</summary>
/// <typeparam name="T">What a resource is to the program.</typeparam>
/// <param name="typeUrl">For example <c>type.googleapis.com/istio.workload.Address</c>.</param>
/// <param name="parse">Reads one.</param>
public sealed class XdsResourceType<T>(string typeUrl, XdsParser<T> parse)
{
    /// <summary>The type URL, by which client and server speak of it.</summary>
    public string TypeUrl { get; } = string.IsNullOrEmpty(typeUrl) ? throw new ArgumentException("a type URL is not empty", nameof(typeUrl)) : typeUrl;

    /// <summary>Reads one.</summary>
    public XdsParser<T> Parse { get; } = parse ?? throw new ArgumentNullException(nameof(parse));

    /// <summary>
    /// Further names under which a resource answers to <see cref="XdsSubscription{T}.DemandAsync"/>, besides its own and its aliases:
    /// a workload asked for by address comes under its UID (ztunnel §5.4). Null for none.
    /// </summary>
    public Func<T, IEnumerable<string>>? NamesOf { get; init; }

    /// <summary>
    /// What takes the place of a resource that cannot be read, by its name and its fault, so that a handler can fail closed; the handler then reports or refuses it.
    /// Null to refuse such resources unseen.
    /// </summary>
    public Func<string, string, T>? Unreadable { get; init; }
}

/// <summary>A resource as it came.</summary>
/// <typeparam name="T">What a resource is to the program.</typeparam>
/// <param name="Name">Its name: the key within its type.</param>
/// <param name="Version">What the server calls this state of it; may be empty.</param>
/// <param name="Value">The resource.</param>
/// <param name="Aliases">Other names that it is to be found under.</param>
/// <param name="IsNew">Whether none of this name was held before: an addition, not a change.</param>
public sealed record XdsResource<T>(string Name, string Version, T Value, ImmutableArray<string> Aliases, bool IsNew);
