using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Mesh.Core.Identity;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>The roots and revocation lists that the two streams of a SPIFFE agent bring, kept together in a trust bundle: for a trust domain in both, what came with the certificates counts.</summary>
internal sealed class SpiffeBundles(TrustBundle trustBundle, ILogger logger)
{
    // What the streams have brought, and what of it is in the trust bundle.
    private readonly Lock _trusting = new();
    private readonly Brought _withSvids = new();
    private readonly Brought _withBundles = new();
    private readonly Dictionary<TrustDomain, ByteString> _roots = [];
    private ByteString? _revocationLists;

    /// <summary>Takes what came with the certificates; adds to <paramref name="faults"/> what cannot be read.</summary>
    /// <remarks>With faults in it, none of the roots are taken back.</remarks>
    public void TrustWithSvids(Dictionary<TrustDomain, List<ByteString>> bundles, IEnumerable<ByteString> revocationLists, List<string> faults) =>
        Trust(_withSvids, bundles, revocationLists, faults);

    /// <summary>Takes what the stream of bundles brought; adds to <paramref name="faults"/> what cannot be read.</summary>
    /// <remarks>With faults in it, none of the roots are taken back.</remarks>
    public void TrustWithBundles(Dictionary<TrustDomain, List<ByteString>> bundles, IEnumerable<ByteString> revocationLists, List<string> faults) =>
        Trust(_withBundles, bundles, revocationLists, faults);

    /// <summary>Reads the names of bundles, each a trust domain or its SPIFFE ID.</summary>
    public static List<(TrustDomain TrustDomain, ByteString Bundle)> Read(IEnumerable<KeyValuePair<string, ByteString>> bundles, List<string> faults)
    {
        var read = new List<(TrustDomain, ByteString)>();
        foreach (var (name, bundle) in bundles)
        {
            var text = name.StartsWith("spiffe://", StringComparison.Ordinal) ? name["spiffe://".Length..] : name;
            if (TrustDomain.TryParse(text, out var trustDomain, out var error))
            {
                read.Add((trustDomain, bundle));
            }
            else
            {
                faults.Add($"a bundle has no trust domain: {error}");
            }
        }

        return read;
    }

    /// <summary>Adds a bundle of a trust domain, unless it is there already.</summary>
    public static void Add(Dictionary<TrustDomain, List<ByteString>> bundles, TrustDomain trustDomain, ByteString bundle)
    {
        if (!bundles.TryGetValue(trustDomain, out var known))
        {
            bundles[trustDomain] = known = [];
        }

        if (!known.Contains(bundle))
        {
            known.Add(bundle);
        }
    }

    private void Trust(Brought brought, Dictionary<TrustDomain, List<ByteString>> bundles, IEnumerable<ByteString> revocationLists, List<string> faults)
    {
        lock (_trusting)
        {
            // Whose bundle it was that could not be read is not known.
            if (faults.Count == 0)
            {
                brought.Roots.Clear();
            }

            foreach (var (trustDomain, parts) in bundles)
            {
                var bundle = ByteString.CopyFrom([.. parts.SelectMany(part => part)]);
                if (TryRead(trustDomain, bundle, faults))
                {
                    brought.Roots[trustDomain] = bundle;
                }
                else if (_roots.TryGetValue(trustDomain, out var known))
                {
                    brought.Roots[trustDomain] = known;
                }
            }

            brought.RevocationLists = [.. revocationLists];
            Trust_NeedsLock();
            Revoke_NeedsLock(faults);
        }
    }

    private static bool TryRead(TrustDomain trustDomain, ByteString bundle, List<string> faults)
    {
        try
        {
            if (Svid.Bundle(bundle).Count > 0)
            {
                return true;
            }

            faults.Add($"the bundle of {trustDomain} is empty");
        }
        catch (CryptographicException e)
        {
            faults.Add($"the bundle of {trustDomain} cannot be read: {e.Message}");
        }

        return false;
    }

    // Only a change is one: connections are looked at again for each.
    private void Trust_NeedsLock()
    {
        var wanted = new Dictionary<TrustDomain, ByteString>(_withBundles.Roots);
        foreach (var (trustDomain, bundle) in _withSvids.Roots)
        {
            wanted[trustDomain] = bundle;
        }

        foreach (var (trustDomain, bundle) in wanted.Where(one => _roots.GetValueOrDefault(one.Key) != one.Value))
        {
            _roots[trustDomain] = bundle;
            var roots = Svid.Bundle(bundle);
            trustBundle.Replace(trustDomain, roots);
            logger.RootsChanged(trustDomain, roots.Count);
        }

        foreach (var trustDomain in _roots.Keys.Where(trustDomain => !wanted.ContainsKey(trustDomain)).ToArray())
        {
            _roots.Remove(trustDomain);
            trustBundle.Replace(trustDomain, []);
            logger.RootsChanged(trustDomain, 0);
        }
    }

    private void Revoke_NeedsLock(List<string> faults)
    {
        var lists = _withSvids.RevocationLists.Union(_withBundles.RevocationLists).ToList();
        var octets = ByteString.CopyFrom([.. lists.SelectMany(list => list)]);
        if (octets == (_revocationLists ?? ByteString.Empty))
        {
            return;
        }

        try
        {
            var pem = string.Concat(lists.Select(list => PemEncoding.WriteString("X509 CRL", list.Span) + "\n"));
            trustBundle.ReplaceRevocationLists(RevocationLists.Parse(Encoding.ASCII.GetBytes(pem)));
            _revocationLists = octets;
        }
        catch (CryptographicException e)
        {
            faults.Add($"the revocation lists cannot be read: {e.Message}");
        }
    }

    /// <summary>What one stream has brought for the trust bundle.</summary>
    private sealed class Brought
    {
        public Dictionary<TrustDomain, ByteString> Roots { get; } = [];

        public IReadOnlyList<ByteString> RevocationLists { get; set; } = [];
    }
}
