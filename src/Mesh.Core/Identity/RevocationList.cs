using System.Collections.Concurrent;
using System.Formats.Asn1;
using System.Security.Cryptography;

namespace Mesh.Core.Identity;

/// <summary>One certificate revocation list (RFC 5280 section 5): which serial numbers an issuer has revoked.</summary>
internal sealed class RevocationList
{
    private const string EcdsaSha256 = "1.2.840.10045.4.3.2";
    private const string EcdsaSha384 = "1.2.840.10045.4.3.3";
    private const string EcdsaSha512 = "1.2.840.10045.4.3.4";
    private const string RsaSha256 = "1.2.840.113549.1.1.11";
    private const string RsaSha384 = "1.2.840.113549.1.1.12";
    private const string RsaSha512 = "1.2.840.113549.1.1.13";

    // A key that another authority of the same name has does not count; each is tried once.
    private readonly ConcurrentDictionary<string, bool> _signers = new();
    private readonly HashSet<string> _serialNumbers = [];
    private readonly ReadOnlyMemory<byte> _signed;
    private readonly byte[] _signature;
    private readonly string _algorithm;

    /// <exception cref="AsnContentException">It is no such list.</exception>
    /// <exception cref="CryptographicException">Its signature is of a kind that cannot be verified.</exception>
    public RevocationList(ReadOnlyMemory<byte> der)
    {
        var list = new AsnReader(der, AsnEncodingRules.DER);
        var outer = list.ReadSequence();
        list.ThrowIfNotEmpty();
        _signed = outer.PeekEncodedValue();
        var body = outer.ReadSequence();
        if (body.PeekTag().HasSameClassAndValue(Asn1Tag.Integer))
        {
            body.ReadInteger();
        }

        body.ReadSequence();
        Issuer = body.ReadEncodedValue();
        ReadTime(body);
        if (body.HasData && IsTime(body.PeekTag()))
        {
            ReadTime(body);
        }

        if (body.HasData && body.PeekTag().HasSameClassAndValue(Asn1Tag.Sequence))
        {
            var entries = body.ReadSequence();
            while (entries.HasData)
            {
                _serialNumbers.Add(Key(entries.ReadSequence().ReadIntegerBytes().Span));
            }
        }

        _algorithm = outer.ReadSequence().ReadObjectIdentifier();
        _signature = outer.ReadBitString(out _);
        if (_algorithm is not (EcdsaSha256 or EcdsaSha384 or EcdsaSha512 or RsaSha256 or RsaSha384 or RsaSha512))
        {
            // A list whose signature cannot be verified would revoke nothing, and look as if it did.
            throw new CryptographicException($"the certificate revocation list is signed with {_algorithm}; ECDSA and RSA (PKCS #1) with SHA-256, SHA-384 or SHA-512 can be verified");
        }
    }

    /// <summary>The issuer's name, DER.</summary>
    public ReadOnlyMemory<byte> Issuer { get; }

    /// <summary>How many certificates it revokes.</summary>
    public int Count => _serialNumbers.Count;

    /// <summary>Whether it revokes a certificate. What the certificate's issuer has not signed revokes nothing.</summary>
    public bool Revokes(CertificateLink certificate) =>
        certificate.Issuer.Span.SequenceEqual(Issuer.Span) && _serialNumbers.Contains(Key(certificate.SerialNumber.Span)) && IsSignedBy(certificate.IssuerKey);

    // Numbers may be written with a leading zero, or more.
    private static string Key(ReadOnlySpan<byte> serialNumber) => Convert.ToHexString(serialNumber.TrimStart((byte)0));

    private bool IsSignedBy(ReadOnlyMemory<byte> key) => _signers.GetOrAdd(Convert.ToHexString(SHA256.HashData(key.Span)), static (_, args) => args.List.Verify(args.Key.Span), (List: this, Key: key));

    private bool Verify(ReadOnlySpan<byte> key)
    {
        try
        {
            switch (_algorithm)
            {
                case EcdsaSha256 or EcdsaSha384 or EcdsaSha512:
                    using (var ecdsa = ECDsa.Create())
                    {
                        ecdsa.ImportSubjectPublicKeyInfo(key, out _);
                        return ecdsa.VerifyData(_signed.Span, _signature, Hash(), DSASignatureFormat.Rfc3279DerSequence);
                    }

                case RsaSha256 or RsaSha384 or RsaSha512:
                    using (var rsa = RSA.Create())
                    {
                        rsa.ImportSubjectPublicKeyInfo(key, out _);
                        return rsa.VerifyData(_signed.Span, _signature, Hash(), RSASignaturePadding.Pkcs1);
                    }

                default:
                    return false;
            }
        }
        catch (CryptographicException)
        {
            // A key of another kind.
            return false;
        }
    }

    private HashAlgorithmName Hash() => _algorithm switch
    {
        EcdsaSha256 or RsaSha256 => HashAlgorithmName.SHA256,
        EcdsaSha384 or RsaSha384 => HashAlgorithmName.SHA384,
        _ => HashAlgorithmName.SHA512,
    };

    private static bool IsTime(Asn1Tag tag) => tag.HasSameClassAndValue(Asn1Tag.UtcTime) || tag.HasSameClassAndValue(Asn1Tag.GeneralizedTime);

    // When it was made and when the next will be is of no concern: a list that is old still revokes (ztunnel §3.5).
    private static void ReadTime(AsnReader reader) => reader.ReadEncodedValue();
}
