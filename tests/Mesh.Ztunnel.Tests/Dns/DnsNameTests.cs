using System.Text;

namespace Mesh.Ztunnel.Dns;

public sealed class DnsNameTests
{
    [Theory]
    [InlineData("example.com", "\x07" + "example\x03" + "com\0")]
    [InlineData("example.com.", "\x07" + "example\x03" + "com\0")]
    [InlineData("*.Example", "\x01*\x07" + "Example\0")]
    public void A_host_name_is_labels_with_their_lengths(string text, string wire)
    {
        Assert.True(DnsName.TryParse(text, out var name));
        Assert.Equal(wire, Encoding.ASCII.GetString(name.Wire));
        Assert.True(name.TryGetHostname(out var hostname));
        Assert.Equal(text.TrimEnd('.'), hostname);
        Assert.Equal(text.TrimEnd('.'), name.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("a..b")]
    [InlineData(".a")]
    [InlineData("ä.example")]
    public void What_is_no_host_name_is_not_read(string text) => Assert.False(DnsName.TryParse(text, out _));

    [Fact]
    public void A_label_has_63_octets_at_most_and_a_name_255()
    {
        Assert.True(DnsName.TryParse(new string('a', 63), out _));
        Assert.False(DnsName.TryParse(new string('a', 64), out _));

        var longest = string.Join('.', Enumerable.Repeat("a", 127));
        Assert.True(DnsName.TryParse(longest, out var name));
        Assert.Equal(255, name.Wire.Length);
        Assert.False(DnsName.TryParse(longest + "b", out _));
        Assert.False(DnsName.TryParse(longest + ".a", out _));
    }

    [Fact]
    public void Names_that_differ_in_case_are_equal()
    {
        Assert.Equal(DnsText.Name("Cart.Shop"), DnsText.Name("cART.sHOP"));
        Assert.Equal(DnsText.Name("Cart.Shop").GetHashCode(), DnsText.Name("cART.sHOP").GetHashCode());
        Assert.NotEqual(DnsText.Name("cart.shop"), DnsText.Name("cart.shoq"));
        Assert.NotEqual(DnsText.Name("cart.shop"), DnsText.Name("cart"));

        // As letters these would differ in case; they are none.
        Assert.NotEqual(DnsName.FromWire([1, (byte)'[', 0]), DnsName.FromWire([1, (byte)'{', 0]));
    }

    [Fact]
    public void A_label_with_a_dot_in_it_is_no_part_of_a_host_name()
    {
        var name = DnsName.FromWire([3, (byte)'a', (byte)'.', (byte)'b', 1, 0, 0]);
        Assert.False(name.TryGetHostname(out _));
        Assert.Equal(@"a\.b.\000", name.ToString());
    }
}
