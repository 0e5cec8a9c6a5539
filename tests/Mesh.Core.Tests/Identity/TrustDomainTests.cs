namespace Mesh.Core.Identity;

public sealed class TrustDomainTests
{
    [Theory]
    [InlineData("cluster.local")]
    [InlineData("a")]
    [InlineData("0")]
    [InlineData("my-mesh_2.example.com")]
    public void A_valid_name_is_read_as_it_is(string name) => Assert.Equal(name, TrustDomain.Parse(name).Name);

    [Theory]
    [InlineData(null, "trust domain is empty; allowed are 1 to 255 of a-z, 0-9, '.', '-', '_'")]
    [InlineData("", "trust domain is empty; allowed are 1 to 255 of a-z, 0-9, '.', '-', '_'")]
    [InlineData("Cluster.local", "trust domain 'Cluster.local' contains 'C'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("cluster.local:8080", "trust domain 'cluster.local:8080' contains ':'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("user@cluster.local", "trust domain 'user@cluster.local' contains '@'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("cluster local", "trust domain 'cluster local' contains ' '; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("cluster%2elocal", "trust domain 'cluster%2elocal' contains '%'; allowed are a-z, 0-9, '.', '-', '_'")]
    [InlineData("clüster", "trust domain 'cl?ster' contains '?'; allowed are a-z, 0-9, '.', '-', '_'")]
    public void An_invalid_name_is_refused_with_its_fault(string? name, string fault)
    {
        Assert.False(TrustDomain.TryParse(name, out _, out var error));
        Assert.Equal(fault, error);
    }

    [Fact]
    public void The_longest_name_has_255_characters() => Assert.True(TrustDomain.TryParse(new string('a', 255), out _, out _));

    [Fact]
    public void A_longer_name_is_refused_with_its_length() => Assert.Equal(
        "trust domain has 256 characters; at most 255 are allowed", Assert.Throws<FormatException>(() => TrustDomain.Parse(new string('a', 256))).Message);

    [Fact]
    public void Names_that_are_the_same_text_are_equal() => Assert.Equal(TrustDomain.Parse("mesh.example"), TrustDomain.Parse("mesh.example"));

    [Fact]
    public void Istios_default_is_one_object() => Assert.Same(TrustDomain.ClusterLocal, TrustDomain.Parse("cluster.local"));
}
