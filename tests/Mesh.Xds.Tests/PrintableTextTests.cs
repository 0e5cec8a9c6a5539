namespace Mesh.Xds;

public sealed class PrintableTextTests
{
    [Theory]
    [InlineData("", "")]
    [InlineData("plain: 100 %", "plain: 100 %")]
    [InlineData("Größe 中 😀", "Größe 中 😀")]
    [InlineData("a\nb\r\tc\0", "a\\u000Ab\\u000D\\u0009c\\u0000")]
    [InlineData("\u001b[2J\u009b", "\\u001B[2J\\u009B")]
    [InlineData("\u202eevil\u2066\u2028\u2029\ufeff", "\\u202Eevil\\u2066\\u2028\\u2029\\uFEFF")]
    public void What_cannot_be_seen_is_written_out(string text, string shown) => Assert.Equal(shown, PrintableText.Of(text, 100));

    [Fact]
    public void Half_a_character_becomes_one_that_can_be_written() => Assert.Equal("a\ufffd", PrintableText.Of("a" + '\ud83d', 100));

    [Fact]
    public void What_is_too_long_is_cut_between_characters()
    {
        Assert.Equal("12345", PrintableText.Of("12345", 5));
        Assert.Equal("12345…", PrintableText.Of("123456", 5));
        Assert.Equal("1234…", PrintableText.Of("1234😀", 5));
        Assert.Equal("1…", PrintableText.Of("1\n2", 5));
    }
}
