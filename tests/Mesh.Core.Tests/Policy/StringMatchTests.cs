namespace Mesh.Core.Policy;

public sealed class StringMatchTests
{
    [Theory]
    [InlineData("web", "web", true)]
    [InlineData("web", "web2", false)]
    [InlineData("web", "Web", false)]
    [InlineData("web", "", false)]
    [InlineData("", "", true)]
    [InlineData("", "web", false)]
    [InlineData("web*", "web", true)]
    [InlineData("web*", "web-1", true)]
    [InlineData("web*", "my-web", false)]
    [InlineData("web*", "WEB-1", false)]
    [InlineData("web*", "", false)]
    [InlineData("*web", "web", true)]
    [InlineData("*web", "my-web", true)]
    [InlineData("*web", "web-1", false)]
    [InlineData("*web", "", false)]
    [InlineData("*", "web", true)]
    [InlineData("*", "", false)]
    public void A_text_is_compared_as_istio_writes_it(string match, string text, bool matches) =>
        Assert.Equal(matches, Policies.Text(match).Matches(text));

    [Fact]
    public void An_empty_prefix_matches_even_the_empty_text() => Assert.True(StringMatch.Prefix("").Matches(""));

    [Fact]
    public void An_empty_suffix_matches_even_the_empty_text() => Assert.True(StringMatch.Suffix("").Matches(""));

    [Theory]
    [InlineData("web")]
    [InlineData("web*")]
    [InlineData("*web")]
    [InlineData("*")]
    public void A_match_shows_itself_as_istio_writes_it(string match) => Assert.Equal(match, Policies.Text(match).ToString());
}
