using System.Collections.Immutable;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>The root certificates of each trust domain. Roots may be replaced while connections run; handshakes that begin later see the new ones.</summary>
/// <remarks>Thread-safe: readers take one immutable map and never lock.</remarks>
public sealed class TrustBundle
{
    private ImmutableDictionary<TrustDomain, ImmutableArray<X509Certificate2>> _roots = ImmutableDictionary<TrustDomain, ImmutableArray<X509Certificate2>>.Empty;
    private RevocationLists _revocationLists = RevocationLists.None;
    private long _version;

    /// <summary>Raised after every change, on the thread that made it.</summary>
    public event EventHandler? Changed;

    /// <summary>The chains that were verified against these roots. Whoever takes one from here asks whether its root is still one of them.</summary>
    internal VerifiedChains VerifiedChains { get; } = new();

    /// <summary>Grows by one with every change of roots.</summary>
    public long Version => Volatile.Read(ref _version);

    /// <summary>The trust domains that have roots.</summary>
    public IEnumerable<TrustDomain> TrustDomains => Volatile.Read(ref _roots).Keys;

    /// <summary>The roots of a trust domain; empty when it is not trusted.</summary>
    public ImmutableArray<X509Certificate2> RootsOf(TrustDomain trustDomain) =>
        Volatile.Read(ref _roots).TryGetValue(trustDomain, out var roots) ? roots : [];

    /// <summary>Replaces the roots of a trust domain; none at all ends the trust in it.</summary>
    public void Replace(TrustDomain trustDomain, IEnumerable<X509Certificate2> roots)
    {
        ArgumentNullException.ThrowIfNull(trustDomain);
        ImmutableArray<X509Certificate2> replacement = [.. roots];
        ImmutableInterlocked.Update(
            ref _roots,
            static (map, change) => change.Roots.IsEmpty ? map.Remove(change.TrustDomain) : map.SetItem(change.TrustDomain, change.Roots),
            (TrustDomain: trustDomain, Roots: replacement));
        Interlocked.Increment(ref _version);
        OnChanged();
    }

    /// <summary>The revocation lists that peers are held against, when they come and for as long as they are connected.</summary>
    public RevocationLists RevocationLists => Volatile.Read(ref _revocationLists);

    /// <summary>Replaces the revocation lists. <see cref="Version"/> stays: whom they do not name is as trusted as before.</summary>
    public void ReplaceRevocationLists(RevocationLists lists)
    {
        ArgumentNullException.ThrowIfNull(lists);
        Volatile.Write(ref _revocationLists, lists);
        OnChanged();
    }

    // One subscriber's fault must not keep the change from the others: some of them enforce it.
    private void OnChanged()
    {
        var faults = new List<Exception>();
        foreach (var subscriber in Changed?.GetInvocationList().Cast<EventHandler>() ?? [])
        {
            try
            {
                subscriber(this, EventArgs.Empty);
            }
            catch (Exception e)
            {
                faults.Add(e);
            }
        }

        if (faults.Count > 0)
        {
            throw new AggregateException("the change is made, but subscribers failed", faults);
        }
    }
}
