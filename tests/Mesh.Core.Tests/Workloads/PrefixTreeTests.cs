using System.Net;

namespace Mesh.Core.Workloads;

/// <summary>The tree finds what a walk over all ranges finds.</summary>
public sealed class PrefixTreeTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_tree_after_any_edits_finds_what_a_walk_over_the_list_finds(bool isV6)
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            var list = new List<(IPNetwork Range, string Value)>();
            var tree = PrefixTree<string>.Empty;
            for (var step = 0; step < 60; step++)
            {
                if (list.Count > 0 && random.Next(3) == 0)
                {
                    var (range, value) = list[random.Next(list.Count)];
                    list.Remove((range, value));
                    tree = tree.Remove(range, value);
                }
                else
                {
                    var range = AddressRange.Create(RandomAddress(random, isV6), random.Next(isV6 ? 129 : 33));
                    var value = $"value {step}";
                    list.Add((range, value));
                    tree = tree.Add(range, value);
                }

                var address = RandomAddress(random, isV6);
                Assert.Equal(
                    list.Where(one => one.Range.Contains(address)).Select(one => (one.Value, one.Range.PrefixLength)).Order(),
                    tree.Covering(address).Order());
            }

            foreach (var (range, value) in list)
            {
                tree = tree.Remove(range, value);
            }

            Assert.True(tree.IsEmpty);
        }
    }

    [Fact]
    public void The_widest_range_comes_first() => Assert.Equal(
        [("all", 0), ("eight", 8), ("host", 32)],
        PrefixTree<string>.Empty
            .Add(IPNetwork.Parse("10.1.2.3/32"), "host")
            .Add(IPNetwork.Parse("0.0.0.0/0"), "all")
            .Add(IPNetwork.Parse("10.0.0.0/8"), "eight")
            .Covering(IPAddress.Parse("10.1.2.3")));

    [Fact]
    public void An_ipv4_address_is_in_no_ipv6_range() =>
        Assert.Empty(PrefixTree<string>.Empty.Add(IPNetwork.Parse("::/0"), "six").Covering(IPAddress.Parse("10.1.2.3")));

    // Few values for each octet, so that ranges meet.
    private static IPAddress RandomAddress(Random random, bool isV6) =>
        new([.. Enumerable.Range(0, isV6 ? 16 : 4).Select(_ => random.Next(3) switch { 0 => (byte)0, 1 => (byte)0x80, _ => (byte)0xFF })]);
}
