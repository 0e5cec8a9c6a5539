namespace Mesh.Xds.Client;

public sealed class BackoffTests
{
    private static readonly TimeSpan First = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(15);

    [Fact]
    public void Each_wait_is_twice_the_one_before_until_the_longest()
    {
        var backoff = new Backoff(First, Longest, jitter: 0, new Random(1));
        Assert.Equal([10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 15_000, 15_000], Enumerable.Range(0, 13).Select(_ => backoff.Next().TotalMilliseconds));
        for (var i = 0; i < 10_000; i++)
        {
            Assert.Equal(Longest, backoff.Next());
        }
    }

    [Fact]
    public void A_good_attempt_makes_the_next_wait_the_first_one_again()
    {
        var backoff = new Backoff(First, Longest, jitter: 0, new Random(1));
        for (var i = 0; i < 20; i++)
        {
            backoff.Next();
        }

        backoff.Reset();
        Assert.Equal([First, 2 * First], [backoff.Next(), backoff.Next()]);
    }

    [Fact]
    public void Chance_makes_a_wait_shorter_by_its_share_at_most_and_never_longer()
    {
        var backoff = new Backoff(First, First, jitter: 0.2, new Random(1));
        var waits = Enumerable.Range(0, 10_000).Select(_ => backoff.Next().TotalMilliseconds).ToArray();
        Assert.All(waits, wait => Assert.InRange(wait, 8, 10));

        // And uses all of it.
        Assert.InRange(waits.Min(), 8, 8.01);
        Assert.InRange(waits.Max(), 9.99, 10);
        Assert.InRange(waits.Average(), 8.95, 9.05);
    }
}
