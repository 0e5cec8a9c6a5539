using Mesh.Testing;

namespace Mesh.Core.Identity;

public sealed class TrustBundleTests
{
    private static readonly TrustDomain Other = TrustDomain.Parse("other.example");
    private readonly TrustBundle _bundle = new();

    [Fact]
    public void A_trust_domain_that_was_never_named_has_no_roots() => Assert.Empty(_bundle.RootsOf(Other));

    [Fact]
    public void Roots_are_replaced_whole()
    {
        using var first = TestCertificates.Root();
        using var second = TestCertificates.Root();
        _bundle.Replace(Other, [first]);
        _bundle.Replace(Other, [second]);

        Assert.Same(second, Assert.Single(_bundle.RootsOf(Other)));
    }

    [Fact]
    public void Roots_of_one_trust_domain_leave_those_of_another_alone()
    {
        using var root = TestCertificates.Root();
        _bundle.Replace(TrustDomain.ClusterLocal, [root]);
        _bundle.Replace(Other, []);

        Assert.Equal([TrustDomain.ClusterLocal], _bundle.TrustDomains);
    }

    [Fact]
    public void No_roots_at_all_end_the_trust()
    {
        using var root = TestCertificates.Root();
        _bundle.Replace(Other, [root]);
        _bundle.Replace(Other, []);

        Assert.Empty(_bundle.TrustDomains);
    }

    [Fact]
    public void Every_change_raises_the_event_once_after_the_version_grew()
    {
        var versions = new List<long>();
        _bundle.Changed += (sender, _) => versions.Add(((TrustBundle)sender!).Version);
        using var root = TestCertificates.Root();
        _bundle.Replace(Other, [root]);
        _bundle.Replace(Other, []);

        Assert.Equal([1, 2], versions);
    }

    [Fact]
    public void What_a_reader_took_does_not_change()
    {
        using var root = TestCertificates.Root();
        _bundle.Replace(Other, [root]);
        var taken = _bundle.RootsOf(Other);
        _bundle.Replace(Other, []);

        Assert.Single(taken);
    }
}
