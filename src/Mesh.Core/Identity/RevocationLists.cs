using System.Collections.Immutable;
using System.Formats.Asn1;
using System.Security.Cryptography;

namespace Mesh.Core.Identity;

/// <summary>The certificate revocation lists that peers are held against, immutable (ztunnel §3.5).</summary>
/// <remarks>Every certificate of a chain but the root is looked for. Unknown issuers are passed over, and so is the age of a list.</remarks>
public sealed class RevocationLists
{
    /// <summary>No lists: nothing is revoked.</summary>
    public static readonly RevocationLists None = new([]);

    private const string PemLabel = "X509 CRL";

    private readonly ImmutableArray<RevocationList> _lists;

    private RevocationLists(ImmutableArray<RevocationList> lists) => _lists = lists;

    /// <summary>How many lists there are.</summary>
    public int Count => _lists.Length;

    /// <summary>How many certificates they revoke.</summary>
    public int RevokedCount => _lists.Sum(list => list.Count);

    /// <summary>Reads a file: empty, one list in DER, or PEM with any number of lists; what else PEM holds is passed over.</summary>
    /// <exception cref="CryptographicException">A list cannot be read.</exception>
    public static RevocationLists Parse(ReadOnlySpan<byte> content)
    {
        try
        {
            if (content.IsEmpty)
            {
                return None;
            }

            // DER begins with a SEQUENCE of a length that is not a digit or letter.
            return content is [0x30, >= 0x80, ..] ? new RevocationLists([new RevocationList(content.ToArray())]) : FromPem(System.Text.Encoding.UTF8.GetString(content));
        }
        catch (AsnContentException e)
        {
            throw new CryptographicException($"the certificate revocation list cannot be read: {e.Message}", e);
        }
    }

    /// <summary>The first revoked certificate of a chain; null when none is.</summary>
    public CertificateLink? Find(ImmutableArray<CertificateLink> chain)
    {
        if (_lists.IsEmpty || chain.IsDefaultOrEmpty)
        {
            return null;
        }

        foreach (var link in chain)
        {
            foreach (var list in _lists)
            {
                if (list.Revokes(link))
                {
                    return link;
                }
            }
        }

        return null;
    }

    private static RevocationLists FromPem(string text)
    {
        var lists = ImmutableArray.CreateBuilder<RevocationList>();
        var rest = text.AsSpan();
        while (PemEncoding.TryFind(rest, out var fields))
        {
            if (rest[fields.Label].SequenceEqual(PemLabel))
            {
                lists.Add(new RevocationList(Convert.FromBase64String(rest[fields.Base64Data].ToString())));
            }

            rest = rest[fields.Location.End..];
        }

        // A block that is broken must not pass for one that is not there.
        var begun = text.AsSpan().Count($"-----BEGIN {PemLabel}-----");
        if (begun != lists.Count || (begun == 0 && !text.AsSpan().Trim().IsEmpty && !text.Contains("-----BEGIN", StringComparison.Ordinal)))
        {
            throw new CryptographicException($"the certificate revocation lists cannot be read: of {begun} PEM blocks '{PemLabel}' {lists.Count} are whole");
        }

        return new RevocationLists(lists.ToImmutable());
    }
}
