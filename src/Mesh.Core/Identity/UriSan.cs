using System.Diagnostics.CodeAnalysis;
using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Core.Identity;

/// <summary>Reads and writes the URI names of the Subject Alternative Name extension (RFC 5280, section 4.2.1.6).</summary>
internal static class UriSan
{
    public const string SubjectAlternativeName = "2.5.29.17";

    // GeneralName: uniformResourceIdentifier [6] IA5String.
    private static readonly Asn1Tag UniformResourceIdentifier = new(TagClass.ContextSpecific, 6);

    // One is right, several are wrong; the first few are enough to say so.
    private const int MaxRead = 16;

    /// <summary>The URI names of the certificate, at most the first sixteen.</summary>
    /// <exception cref="CryptographicException">The extension is not valid DER, or holds a name that is not IA5.</exception>
    public static List<string> Read(X509Certificate2 certificate)
    {
        var uris = new List<string>();
        foreach (var extension in certificate.Extensions)
        {
            if (extension.Oid?.Value != SubjectAlternativeName)
            {
                continue;
            }

            try
            {
                var reader = new AsnReader(extension.RawData, AsnEncodingRules.DER);
                var names = reader.ReadSequence();
                reader.ThrowIfNotEmpty();
                while (names.HasData && uris.Count < MaxRead)
                {
                    if (!names.PeekTag().HasSameClassAndValue(UniformResourceIdentifier))
                    {
                        names.ReadEncodedValue();
                        continue;
                    }

                    uris.Add(names.ReadCharacterString(UniversalTagNumber.IA5String, UniformResourceIdentifier));
                }
            }
            catch (AsnContentException e)
            {
                throw new CryptographicException("the Subject Alternative Name extension is not valid DER", e);
            }
        }

        return uris;
    }

    /// <summary>Exactly one URI name, and that a SPIFFE ID (X.509-SVID standard, section 2).</summary>
    public static bool TryGetSpiffeId(X509Certificate2 certificate, [NotNullWhen(true)] out SpiffeId? id, [NotNullWhen(false)] out string? error)
    {
        var rejection = Identify(certificate, out id, out error);
        return rejection is PeerRejection.None && id is not null && error is null;
    }

    public static PeerRejection Identify(X509Certificate2 certificate, out SpiffeId? id, out string? error)
    {
        id = null;
        List<string> uris;
        try
        {
            uris = Read(certificate);
        }
        catch (CryptographicException e)
        {
            error = e.Message;
            return PeerRejection.InvalidSpiffeId;
        }

        switch (uris)
        {
            case []:
                error = "the certificate has no URI name (SAN), so no SPIFFE ID";
                return PeerRejection.NoSpiffeId;
            case [var uri]:
                return SpiffeId.TryParse(uri, out id, out error) ? PeerRejection.None : PeerRejection.InvalidSpiffeId;
            default:
                error = $"the certificate has {uris.Count} URI names (SAN); exactly one is allowed: {string.Join(", ", uris.Select(SpiffeId.Printable))}";
                return PeerRejection.SeveralUriNames;
        }
    }

    public static X509Extension Write(SpiffeId id, bool critical)
    {
        var writer = new AsnWriter(AsnEncodingRules.DER);
        using (writer.PushSequence())
        {
            writer.WriteCharacterString(UniversalTagNumber.IA5String, id.ToString(), UniformResourceIdentifier);
        }

        return new X509Extension(SubjectAlternativeName, writer.Encode(), critical);
    }
}
