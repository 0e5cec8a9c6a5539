using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Mesh.Core.Identity;

namespace Mesh.Cli.Certificates;

/// <summary>Writes what certificates say.</summary>
/// <param name="output">Where to.</param>
/// <param name="now">The moment from which lifetimes are counted.</param>
internal sealed class CertificateText(TextWriter output, DateTimeOffset now)
{
    // Of names there may be thousands.
    private const int MaxNames = 16;

    private static readonly (TimeSpan Length, string Name)[] Units =
        [(TimeSpan.FromDays(1), "d"), (TimeSpan.FromHours(1), "h"), (TimeSpan.FromMinutes(1), "min"), (TimeSpan.FromSeconds(1), "s")];

    /// <summary>One line.</summary>
    public void Line(string text) => output.WriteLine(text);

    /// <summary>One certificate.</summary>
    public void Write(string title, X509Certificate2 certificate, int indent)
    {
        var margin = new string(' ', indent);
        output.WriteLine($"{margin}{title}");
        Field("SPIFFE ID", SpiffeId.TryRead(certificate, out var id, out var error) ? id.ToString() : IsAuthority(certificate) ? null : $"none: {error}");
        Field("subject", NameOf(certificate.SubjectName));
        Field("issuer", NameOf(certificate.IssuerName));
        Field("names", Names(certificate));
        Field("valid", $"{Moment(From(certificate))} to {Moment(Until(certificate))}, {Duration(Until(certificate) - From(certificate))}; {Left(certificate)}");
        Field("serial", certificate.SerialNumber);
        Field("key", $"{Key(certificate)}, signed with {certificate.SignatureAlgorithm.FriendlyName ?? certificate.SignatureAlgorithm.Value}");
        Field("SHA-256", Fingerprint(certificate));

        void Field(string name, string? value)
        {
            if (value is not null)
            {
                output.WriteLine($"{margin}  {name,-11} {Tool.Printable(value)}");
            }
        }
    }

    /// <summary>What a certificate is for, as far as it says so itself.</summary>
    public static string Role(X509Certificate2 certificate) => !IsAuthority(certificate) ? "a leaf"
        : certificate.SubjectName.RawData.AsSpan().SequenceEqual(certificate.IssuerName.RawData) ? "a root" : "an intermediate";

    /// <summary>SHA-256 of the certificate, in hexadecimal.</summary>
    public static string Fingerprint(X509Certificate2 certificate) => certificate.GetCertHashString(HashAlgorithmName.SHA256);

    /// <summary>The two largest units that are not zero.</summary>
    public static string Duration(TimeSpan duration)
    {
        var parts = new List<string>();
        foreach (var (length, name) in Units)
        {
            var count = (long)(duration / length);
            duration -= count * length;
            if (count > 0)
            {
                parts.Add($"{count.ToString(CultureInfo.InvariantCulture)} {name}");
            }

            // What comes further down than the next unit is of no interest.
            if (parts.Count > 0 && (count == 0 || parts.Count == 2))
            {
                break;
            }
        }

        return parts.Count == 0 ? "0 s" : string.Join(' ', parts);
    }

    private string Left(X509Certificate2 certificate) =>
        now < From(certificate) ? $"not valid before {Duration(From(certificate) - now)} have passed"
        : now > Until(certificate) ? $"expired {Duration(now - Until(certificate))} ago"
        : $"{Duration(Until(certificate) - now)} left";

    private static bool IsAuthority(X509Certificate2 certificate)
    {
        try
        {
            return certificate.Extensions.OfType<X509BasicConstraintsExtension>().Any(constraints => constraints.CertificateAuthority);
        }
        catch (CryptographicException)
        {
            return false;
        }
    }

    private static string NameOf(X500DistinguishedName name)
    {
        try
        {
            return name.Name is { Length: > 0 } text ? text : "(empty)";
        }
        catch (CryptographicException e)
        {
            return $"cannot be read: {e.Message}";
        }
    }

    private static string? Names(X509Certificate2 certificate)
    {
        try
        {
            var names = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>()
                .SelectMany(extension => extension.EnumerateDnsNames().Concat(extension.EnumerateIPAddresses().Select(address => address.ToString())))
                .Take(MaxNames + 1)
                .ToList();
            return names.Count == 0 ? null : string.Join(", ", names.Take(MaxNames)) + (names.Count > MaxNames ? " and more" : "");
        }
        catch (CryptographicException e)
        {
            return $"cannot be read: {e.Message}";
        }
    }

    private static string Key(X509Certificate2 certificate)
    {
        var algorithm = certificate.PublicKey.Oid.FriendlyName ?? certificate.PublicKey.Oid.Value ?? "unknown";
        try
        {
            using var ecdsa = certificate.GetECDsaPublicKey();
            if (ecdsa is not null)
            {
                var curve = ecdsa.ExportParameters(includePrivateParameters: false).Curve;
                return $"ECDSA {(curve.IsNamed ? Curve(curve.Oid) : $"with {ecdsa.KeySize} bits")}";
            }

            using var rsa = certificate.GetRSAPublicKey();
            return rsa is not null ? $"RSA {rsa.KeySize} bits" : algorithm;
        }
        catch (CryptographicException e)
        {
            return $"{algorithm}, which cannot be read: {e.Message}";
        }
    }

    // Which of its names the platform takes differs.
    private static string? Curve(Oid oid) => oid.Value switch
    {
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        _ => oid.FriendlyName ?? oid.Value,
    };

    private static string Moment(DateTimeOffset moment) => moment.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static DateTimeOffset From(X509Certificate2 certificate) => new(certificate.NotBefore.ToUniversalTime());

    private static DateTimeOffset Until(X509Certificate2 certificate) => new(certificate.NotAfter.ToUniversalTime());
}
