using FsCheck;
using FsCheck.Fluent;
using Xunit.Abstractions;

namespace Mesh.Core.Identity;

public sealed class SpiffeIdTests(ITestOutputHelper output)
{
    private const string Allowed = "; allowed are letters, digits, '.', '-', '_'";

    [Theory]
    [InlineData("spiffe://cluster.local/ns/shop/sa/web", "shop", "web")]
    [InlineData("spiffe://a/ns/n.1/sa/s_2-X", "n.1", "s_2-X")]
    [InlineData("spiffe://cluster.local", null, null)]
    [InlineData("spiffe://cluster.local/gateway", null, null)]
    [InlineData("spiffe://cluster.local/ns/shop/sa", null, null)]
    [InlineData("spiffe://cluster.local/ns/shop/sa/web/extra", null, null)]
    [InlineData("spiffe://cluster.local/NS/shop/sa/web", null, null)]
    [InlineData("spiffe://cluster.local/sa/web/ns/shop", null, null)]
    [InlineData("spiffe://cluster.local/...", null, null)]
    public void A_valid_id_is_read_with_the_parts_that_istio_gives_it(string text, string? ns, string? serviceAccount)
    {
        var id = SpiffeId.Parse(text);
        Assert.Equal((ns, serviceAccount), (id.Namespace, id.ServiceAccount));
    }

    [Theory]
    [InlineData(null, "'(none)' does not begin with spiffe://")]
    [InlineData("", "'' does not begin with spiffe://")]
    [InlineData("https://cluster.local/ns/shop/sa/web", "'https://cluster.local/ns/shop/sa/web' does not begin with spiffe://")]
    [InlineData("SPIFFE://cluster.local/x", "'SPIFFE://cluster.local/x' does not begin with spiffe://")]
    [InlineData("spiffe:/cluster.local/x", "'spiffe:/cluster.local/x' does not begin with spiffe://")]
    [InlineData("spiffe://", "SPIFFE ID 'spiffe://': trust domain is empty; allowed are 1 to 255 of a-z, 0-9, '.', '-', '_'")]
    [InlineData("spiffe:///ns/a/sa/b", "SPIFFE ID 'spiffe:///ns/a/sa/b': trust domain is empty; allowed are 1 to 255 of a-z, 0-9, '.', '-', '_'")]
    [InlineData("spiffe://td:80/x", "SPIFFE ID 'spiffe://td:80/x': trust domain 'td:80' contains ':'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("spiffe://me@td/x", "SPIFFE ID 'spiffe://me@td/x': trust domain 'me@td' contains '@'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("spiffe://TD/x", "SPIFFE ID 'spiffe://TD/x': trust domain 'TD' contains 'T'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("spiffe://td/", "SPIFFE ID 'spiffe://td/': the path has an empty segment or a trailing slash")]
    [InlineData("spiffe://td/a/", "SPIFFE ID 'spiffe://td/a/': the path has an empty segment or a trailing slash")]
    [InlineData("spiffe://td//a", "SPIFFE ID 'spiffe://td//a': the path has an empty segment or a trailing slash")]
    [InlineData("spiffe://td/ns//sa/b", "SPIFFE ID 'spiffe://td/ns//sa/b': the path has an empty segment or a trailing slash")]
    [InlineData("spiffe://td/./a", "SPIFFE ID 'spiffe://td/./a': the path has the relative segment '.'")]
    [InlineData("spiffe://td/a/..", "SPIFFE ID 'spiffe://td/a/..': the path has the relative segment '..'")]
    [InlineData("spiffe://td/a?b", "SPIFFE ID 'spiffe://td/a?b': the path contains '?'" + Allowed)]
    [InlineData("spiffe://td/a#b", "SPIFFE ID 'spiffe://td/a#b': the path contains '#'" + Allowed)]
    [InlineData("spiffe://td/a%41", "SPIFFE ID 'spiffe://td/a%41': the path contains '%'" + Allowed)]
    [InlineData("spiffe://td/a b", "SPIFFE ID 'spiffe://td/a b': the path contains ' '" + Allowed)]
    [InlineData("spiffe://td/a\nb", "SPIFFE ID 'spiffe://td/a?b': the path contains '?'" + Allowed)]
    [InlineData("spiffe://td/ä", "SPIFFE ID 'spiffe://td/?': the path contains '?'" + Allowed)]
    public void An_invalid_id_is_refused_with_its_fault(string? text, string fault)
    {
        Assert.False(SpiffeId.TryParse(text, out _, out var error));
        Assert.Equal(fault, error);
    }

    [Fact]
    public void The_longest_id_has_2048_characters() => Assert.True(SpiffeId.TryParse($"spiffe://td/{new string('a', 2048 - 12)}", out _, out _));

    [Fact]
    public void A_longer_id_is_refused_with_its_length() => Assert.Equal(
        "SPIFFE ID has 2049 characters; at most 2048 are allowed",
        Assert.Throws<FormatException>(() => SpiffeId.Parse($"spiffe://td/{new string('a', 2049 - 12)}")).Message);

    [Fact]
    public void A_long_fault_is_cut()
    {
        Assert.False(SpiffeId.TryParse(new string('x', 100_000), out _, out var error));
        Assert.Equal($"'{new string('x', 256)}…' does not begin with spiffe://", error);
    }

    [Fact]
    public void A_principal_is_the_id_without_its_scheme() =>
        Assert.Equal("cluster.local/ns/shop/sa/web", SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web").Principal.ToString());

    [Fact]
    public void An_id_is_made_of_a_service_account() => Assert.Equal(
        SpiffeId.Parse("spiffe://cluster.local/ns/shop/sa/web"), SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", "web"));

    [Theory]
    [InlineData("", "web")]
    [InlineData("shop", "")]
    [InlineData("shop/../bank", "web")]
    [InlineData("shop/a", "web")]
    [InlineData("shop", "web/sa/cart")]
    [InlineData("shop", "we b")]
    public void No_id_is_made_of_parts_that_cannot_stand_in_one(string ns, string serviceAccount) =>
        Assert.Throws<FormatException>(() => SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, ns, serviceAccount));

    [Fact]
    public void Ids_that_are_the_same_text_are_equal()
    {
        var (left, right) = (SpiffeId.Parse("spiffe://td/a"), SpiffeId.Parse("spiffe://td/a"));
        Assert.True(left == right && left.Equals((object)right) && left.GetHashCode() == right.GetHashCode());
    }

    [Theory]
    [InlineData("spiffe://td/a", "spiffe://td/A")]
    [InlineData("spiffe://td/a", "spiffe://td2/a")]
    [InlineData("spiffe://td/a", "spiffe://td")]
    public void Ids_that_differ_in_any_letter_are_not_equal(string left, string right) => Assert.True(SpiffeId.Parse(left) != SpiffeId.Parse(right));

    [Fact]
    public void An_id_made_of_valid_parts_is_read_back_part_by_part()
    {
        var segment = Gen.Elements("abcXYZ019-_".ToCharArray()).NonEmptyListOf().Resize(12).Select(letters => string.Concat(letters));
        var trustDomain = Gen.Elements("abz09.-_".ToCharArray()).NonEmptyListOf().Resize(12).Select(letters => string.Concat(letters));
        var ids = from td in trustDomain from ns in segment from serviceAccount in segment select (td, ns, serviceAccount);
        output.WriteLine("seed (7, 9)");
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(500).WithReplay(7, 9), Prop.ForAll(ids.ToArbitrary(), parts =>
        {
            var (td, ns, serviceAccount) = parts;
            var id = SpiffeId.Parse(SpiffeId.ForServiceAccount(TrustDomain.Parse(td), ns, serviceAccount).ToString());
            Assert.Equal((td, $"/ns/{ns}/sa/{serviceAccount}", ns, serviceAccount), (id.TrustDomain.Name, id.Path, id.Namespace, id.ServiceAccount));
        }));
    }

    [Fact]
    public void Any_text_is_either_read_as_it_is_or_refused_with_a_fault()
    {
        var pieces = Gen.Elements("spiffe://", "td", "/", "ns", "sa", ".", "..", "A", "%", "\0", "ü", ":", "@", "?", " ");
        var texts = pieces.ListOf().Resize(10).Select(list => string.Concat(list));
        output.WriteLine("seed (11, 13)");
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(2000).WithReplay(11, 13), Prop.ForAll(texts.ToArbitrary(), text =>
            SpiffeId.TryParse(text, out var id, out var error) ? id.ToString() == text && error is null : id is null && error.Length > 0));
    }

    // Those made last are remembered: far more than that, in any order.
    [Fact]
    public void Each_of_many_service_accounts_has_its_own_identity()
    {
        var random = new Random(1);
        for (var round = 0; round < 20_000; round++)
        {
            var (trustDomain, ns, serviceAccount) = (TrustDomain.Parse($"td{random.Next(3)}.local"), $"ns-{random.Next(30)}", $"sa-{random.Next(30)}");
            Assert.Equal($"spiffe://{trustDomain.Name}/ns/{ns}/sa/{serviceAccount}", SpiffeId.ForServiceAccount(trustDomain, ns, serviceAccount).ToString());
        }
    }
}
