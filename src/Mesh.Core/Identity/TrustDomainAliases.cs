using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>Other names of our own trust domain, as a former one or that of a partner: Istio's <c>trustDomainAliases</c>. Immutable.</summary>
/// <remarks>
/// Our own trust domain is that of the workload that we act for; each method is told it, and naming it here too does no harm. Under it and under every alias a path names the same
/// workload: <c>spiffe://old.example/ns/shop/sa/web</c> may do what <c>spiffe://cluster.local/ns/shop/sa/web</c> may, and no more. Other trust
/// domains are the same as themselves only. Whoever has the roots of an alias can therefore speak for every workload of ours.
/// </remarks>
public sealed class TrustDomainAliases
{
    /// <summary>No aliases: identities are the same when their text is.</summary>
    public static readonly TrustDomainAliases None = new([]);

    private TrustDomainAliases(ImmutableArray<TrustDomain> names) => Names = names;

    /// <summary>The aliases, each once, in the order in which they were given.</summary>
    public ImmutableArray<TrustDomain> Names { get; }

    /// <summary>Makes a set of aliases; <see cref="None"/> of no names.</summary>
    public static TrustDomainAliases Create(params IEnumerable<TrustDomain> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        ImmutableArray<TrustDomain> distinct = [.. names.Distinct()];
        return distinct.IsEmpty ? None : new TrustDomainAliases(distinct);
    }

    /// <summary>Reads names that are separated by commas, or says in <paramref name="error"/> which of them is wrong.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out TrustDomainAliases? aliases, [NotNullWhen(false)] out string? error)
    {
        aliases = null;
        var names = new List<TrustDomain>();
        foreach (var part in (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (!TrustDomain.TryParse(part, out var name, out error))
            {
                return false;
            }

            names.Add(name);
        }

        error = null;
        aliases = Create(names);
        return true;
    }

    /// <summary>Whether two trust domains are one: by name, or because both are ours under some name.</summary>
    /// <param name="own">Our own trust domain.</param>
    /// <param name="left">The one.</param>
    /// <param name="right">The other.</param>
    public bool AreSame(TrustDomain own, TrustDomain left, TrustDomain right)
    {
        ArgumentNullException.ThrowIfNull(left);
        return left == right || (IsOurs(own, left) && IsOurs(own, right));
    }

    /// <summary>Whether two identities are one: the same path in trust domains that are one. Allocates nothing.</summary>
    /// <param name="own">Our own trust domain.</param>
    /// <param name="left">The one; null for none.</param>
    /// <param name="right">The other; null for none.</param>
    public bool AreSame(TrustDomain own, SpiffeId? left, SpiffeId? right) =>
        left == right
        || (left is not null && right is not null && !Names.IsEmpty && AreSame(own, left.TrustDomain, right.TrustDomain) && left.PathSpan.SequenceEqual(right.PathSpan));

    /// <summary>The other names of an identity: those under our own trust domain and its aliases. None, when it is of another trust domain.</summary>
    /// <param name="own">Our own trust domain.</param>
    /// <param name="identity">The identity; null for none.</param>
    public ImmutableArray<SpiffeId> OtherNamesOf(TrustDomain own, SpiffeId? identity) =>
        Names.IsEmpty || identity is null ? [] : [.. OthersOf(own, identity.TrustDomain).Select(identity.In)];

    /// <inheritdoc/>
    public override string ToString() => string.Join(", ", Names);

    /// <summary>The roots that identities of a trust domain are held against: its own, or ours when it is an alias without any.</summary>
    internal ImmutableArray<X509Certificate2> RootsOf(TrustBundle trust, TrustDomain own, TrustDomain trustDomain)
    {
        var roots = trust.RootsOf(trustDomain);
        return roots.IsEmpty && AreSame(own, own, trustDomain) ? trust.RootsOf(own) : roots;
    }

    /// <summary>The roots that any name of a trust domain is held against.</summary>
    internal IEnumerable<X509Certificate2> RootsOfAllNames(TrustBundle trust, TrustDomain own, TrustDomain trustDomain) =>
        OthersOf(own, trustDomain).Prepend(trustDomain).SelectMany(name => trust.RootsOf(name));

    private IEnumerable<TrustDomain> OthersOf(TrustDomain own, TrustDomain trustDomain) =>
        IsOurs(own, trustDomain) ? Names.Prepend(own).Distinct().Where(name => name != trustDomain) : [];

    private bool IsOurs(TrustDomain own, TrustDomain trustDomain) => trustDomain == own || Names.Contains(trustDomain);
}
