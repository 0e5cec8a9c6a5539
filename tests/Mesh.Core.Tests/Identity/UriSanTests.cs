using System.Security.Cryptography.X509Certificates;
using Mesh.Testing;

namespace Mesh.Core.Identity;

public sealed class UriSanTests
{
    private const string Web = "spiffe://cluster.local/ns/shop/sa/web";

    // [2] dNSName "a", [7] iPAddress 127.0.0.1.
    private static readonly byte[] OtherNames = [0x30, 0x09, 0x82, 0x01, (byte)'a', 0x87, 0x04, 127, 0, 0, 1];

    [Fact]
    public void What_is_written_is_read() => Assert.Equal([Web], UriSan.Read(Certificate(UriSan.Write(SpiffeId.Parse(Web), critical: true))));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_extension_is_critical_when_asked_for(bool critical) => Assert.Equal(critical, UriSan.Write(SpiffeId.Parse(Web), critical).Critical);

    [Fact]
    public void Several_names_are_read_in_their_order() =>
        Assert.Equal(["https://b", "spiffe://a"], UriSan.Read(Certificate(TestCertificates.UriNames(["https://b", "spiffe://a"]))));

    [Fact]
    public void A_certificate_without_the_extension_has_no_names() => Assert.Empty(UriSan.Read(TestCertificates.Root()));

    [Fact]
    public void Names_of_other_kinds_are_passed_over() => Assert.Empty(UriSan.Read(TestCertificates.WithSubjectAlternativeName(OtherNames)));

    [Theory]
    [InlineData(new byte[] { 0x30, 0x05, 0x86, 0x01 })]
    [InlineData(new byte[] { 0x04, 0x00 })]
    [InlineData(new byte[] { 0x30, 0x03, 0x86, 0x01, 0xff })]
    [InlineData(new byte[] { })]
    public void An_extension_that_is_not_der_is_refused(byte[] extension) => Assert.Equal(
        PeerRejection.InvalidSpiffeId, UriSan.Identify(TestCertificates.WithSubjectAlternativeName(extension), out _, out _));

    [Fact]
    public void Of_many_names_only_the_first_sixteen_are_read() => Assert.Equal(
        16, UriSan.Read(Certificate(TestCertificates.UriNames(Enumerable.Range(0, 40).Select(number => $"spiffe://a/{number}")))).Count);

    [Fact]
    public void The_one_spiffe_id_is_found()
    {
        Assert.True(UriSan.TryGetSpiffeId(Certificate(TestCertificates.UriNames([Web])), out var id, out _));
        Assert.Equal(Web, id.ToString());
    }

    [Theory]
    [InlineData(new string[0], PeerRejection.NoSpiffeId, "the certificate has no URI name (SAN), so no SPIFFE ID")]
    [InlineData(new[] { Web, Web }, PeerRejection.SeveralUriNames, $"the certificate has 2 URI names (SAN); exactly one is allowed: {Web}, {Web}")]
    [InlineData(new[] { "https://web" }, PeerRejection.InvalidSpiffeId, "'https://web' does not begin with spiffe://")]
    public void Anything_but_one_spiffe_id_is_refused_with_its_fault(string[] uris, PeerRejection rejection, string fault)
    {
        Assert.Equal(rejection, UriSan.Identify(Certificate(TestCertificates.UriNames(uris)), out _, out var error));
        Assert.Equal(fault, error);
    }

    [Fact]
    public void Bytes_after_the_names_are_refused()
    {
        byte[] extension = [.. TestCertificates.UriNames([Web]).RawData, 0x30, 0x00];
        Assert.Equal(PeerRejection.InvalidSpiffeId, UriSan.Identify(TestCertificates.WithSubjectAlternativeName(extension), out _, out _));
    }

    [Fact]
    public void Far_too_many_names_are_several_names()
    {
        var uris = Enumerable.Range(0, 17).Select(number => $"spiffe://a/{number}");
        Assert.Equal(PeerRejection.SeveralUriNames, UriSan.Identify(Certificate(TestCertificates.UriNames(uris)), out _, out _));
    }

    private static X509Certificate2 Certificate(X509Extension names) => TestCertificates.WithSubjectAlternativeName(names.RawData);
}
